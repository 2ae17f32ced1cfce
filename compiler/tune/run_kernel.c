/* Runs a kernel of a shared library: run_kernel LIBRARY ARENA_BYTES RUNS. The emulator counts its instructions. */

#define _POSIX_C_SOURCE 200809L

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef void (*kernel_t)(void *arena, struct timespec *clock);

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  void *library = dlopen(argv[1], RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  kernel_t kernel;
  *(void **)&kernel = dlsym(library, "run_0");
  const size_t bytes = strtoul(argv[2], NULL, 10);
  const int runs = atoi(argv[3]);
  void *arena;
  if (kernel == NULL || posix_memalign(&arena, 4096, bytes + sizeof(float))) {
    fprintf(stderr, "no kernel, or no memory for it\n");
    return 1;
  }
  /* Numbers between -1 and 1, always the same. */
  unsigned state = 1;
  for (size_t i = 0; i < bytes / sizeof(float); i++) {
    state = state * 1664525u + 1013904223u;
    ((float *)arena)[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
  }
  struct timespec clock[2];
  for (int run = 0; run < runs; run++) kernel(arena, clock);
  return 0;
}
