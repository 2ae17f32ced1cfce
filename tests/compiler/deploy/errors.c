/* What the C interface says to wrong arguments; exits with the number of the first line that fails. */

#include <stdlib.h>
#include <sys/resource.h>

#define EXPECT(condition) \
  if (!(condition)) return __LINE__

static char arena[1 << 20] __attribute__((aligned(VDLA_WORKSPACE_ALIGNMENT)));
static char data[1 << 16] __attribute__((aligned(16)));

int main(void) {
  const vdla_model_info_t *info = vdla_model_info();
  EXPECT(info->abi_version == VDLA_ABI_VERSION);
  EXPECT(info->workspace_bytes <= sizeof arena && info->inputs[0].bytes <= sizeof data / 2);
  vdla_model_t *model = (vdla_model_t *)data;
  EXPECT(vdla_create(NULL, NULL, 0) == VDLA_BAD_ARGUMENT);
  EXPECT(vdla_create(&model, arena, info->workspace_bytes - 1) == VDLA_ARENA_TOO_SMALL && model == NULL);
  EXPECT(vdla_create(&model, arena + 1, sizeof arena - 1) == VDLA_MISALIGNED && model == NULL);
  EXPECT(vdla_create(&model, arena, info->workspace_bytes) == VDLA_OK && (void *)model == arena);

  const void *inputs[1] = {data};
  void *outputs[1] = {data + sizeof data / 2};
  EXPECT(vdla_run(NULL, inputs, outputs) == VDLA_BAD_ARGUMENT);
  EXPECT(vdla_run(model, NULL, outputs) == VDLA_BAD_ARGUMENT);
  EXPECT(vdla_run(model, inputs, NULL) == VDLA_BAD_ARGUMENT);
  inputs[0] = NULL;
  EXPECT(vdla_run(model, inputs, outputs) == VDLA_BAD_ARGUMENT);
  inputs[0] = data + 1;
  EXPECT(vdla_run(model, inputs, outputs) == VDLA_MISALIGNED);
  inputs[0] = data;
  outputs[0] = NULL;
  EXPECT(vdla_run(model, inputs, outputs) == VDLA_BAD_ARGUMENT);
  outputs[0] = data + sizeof data / 2;
  EXPECT(vdla_run(model, inputs, outputs) == VDLA_OK);
  vdla_destroy(model);
  vdla_destroy(NULL);

  EXPECT(vdla_set_threads(0) == VDLA_BAD_ARGUMENT && vdla_set_threads(2) == VDLA_OK);
  EXPECT(vdla_error_text(VDLA_OUT_OF_MEMORY)[0] != 0 && vdla_error_text(-1)[0] != 0 && vdla_error_text(99)[0] != 0);

#ifdef NO_MEMORY
  /* A model that wants more than the process may have. */
  struct rlimit limit = {64 << 20, 64 << 20};
  EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
  EXPECT(NO_MEMORY(&model, NULL, 0) == VDLA_OUT_OF_MEMORY && model == NULL);
#endif
  return 0;
}
