# Shorthands for scripts/; the scripts do all set-up themselves and need no make.
.PHONY: demo test setup

demo:
	bash scripts/demo.sh

test:
	bash scripts/test.sh

setup:
	bash scripts/setup.sh test
