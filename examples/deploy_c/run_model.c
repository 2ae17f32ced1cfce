/* Runs a deployed network on tensors from files: a C program with nothing but the model's library and libc.

     vdla compile digits -o digits.so
     gcc -include digits.h run_model.c digits.so -Wl,-rpath,'$ORIGIN' -o run_model
     ./run_model [-a] [-n RUNS] INPUT.bin... OUTPUT.bin...

   One file for each input and output, in the order of the model, raw elements. -a puts the model's workspace into an
   arena of the program's own; -n runs it several times. The header that lies beside the library is all it is told. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *dtype_names[] = {"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32",
                                    "float64", "bool"};

static void describe(const char *role, const vdla_tensor_info_t *tensor) {
  fprintf(stderr, "%s '%s' %s[", role, tensor->name, dtype_names[tensor->dtype]);
  for (int32_t i = 0; i < tensor->rank; i++) fprintf(stderr, "%s%lld", i ? "," : "", (long long)tensor->shape[i]);
  fprintf(stderr, "] %zu bytes\n", tensor->bytes);
}

static void fail(const char *what, int32_t code) {
  fprintf(stderr, "error: %s: %s\n", what, vdla_error_text(code));
  exit(1);
}

/* Room for a tensor, aligned for every element type. */
static void *room(size_t bytes) {
  void *data = malloc(bytes);
  if (data == NULL) fail("tensor", VDLA_OUT_OF_MEMORY);
  return data;
}

static void transfer(const char *path, const char *mode, void *data, size_t bytes) {
  FILE *file = fopen(path, mode);
  if (file == NULL) {
    perror(path);
    exit(1);
  }
  size_t done = mode[0] == 'r' ? fread(data, 1, bytes, file) : fwrite(data, 1, bytes, file);
  if (done != bytes || (mode[0] == 'r' && fgetc(file) != EOF) || fclose(file) != 0) {
    fprintf(stderr, "error: %s does not hold the %zu bytes of its tensor\n", path, bytes);
    exit(1);
  }
}

int main(int argc, char **argv) {
  const vdla_model_info_t *info = vdla_model_info();
  if (info->abi_version != VDLA_ABI_VERSION) {
    fprintf(stderr, "error: the library has another version than its header\n");
    return 1;
  }
  int at = 1, runs = 1, own_arena = 0, wrong = 0;
  for (; at < argc && argv[at][0] == '-'; at++) {
    if (strcmp(argv[at], "-a") == 0)
      own_arena = 1;
    else if (strcmp(argv[at], "-n") == 0 && at + 1 < argc && (runs = atoi(argv[at + 1])) > 0)
      at++;
    else
      wrong = 1;
  }
  if (wrong || argc - at != info->input_count + info->output_count) {
    fprintf(stderr, "model '%s' for %s, %zu bytes of workspace:\n", info->model, info->platform,
            info->workspace_bytes);
    for (int32_t i = 0; i < info->input_count; i++) describe("input", &info->inputs[i]);
    for (int32_t i = 0; i < info->output_count; i++) describe("output", &info->outputs[i]);
    return 2;
  }

  void *memory = NULL, *arena = NULL;
  if (own_arena) {
    memory = room(info->workspace_bytes + VDLA_WORKSPACE_ALIGNMENT);
    uintptr_t skip = VDLA_WORKSPACE_ALIGNMENT - (uintptr_t)memory % VDLA_WORKSPACE_ALIGNMENT;
    arena = (char *)memory + skip;
  }
  vdla_model_t *model;
  int32_t code = vdla_create(&model, arena, info->workspace_bytes);
  if (code != VDLA_OK) fail("create", code);

  const void **inputs = room((size_t)info->input_count * sizeof *inputs);
  void **outputs = room((size_t)info->output_count * sizeof *outputs);
  for (int32_t i = 0; i < info->input_count; i++) {
    void *data = room(info->inputs[i].bytes);
    transfer(argv[at + i], "rb", data, info->inputs[i].bytes);
    inputs[i] = data;
  }
  for (int32_t i = 0; i < info->output_count; i++) outputs[i] = room(info->outputs[i].bytes);
  for (int run = 0; run < runs; run++) {
    code = vdla_run(model, inputs, outputs);
    if (code != VDLA_OK) fail("run", code);
  }
  for (int32_t i = 0; i < info->output_count; i++)
    transfer(argv[at + info->input_count + i], "wb", outputs[i], info->outputs[i].bytes);

  vdla_destroy(model);
  for (int32_t i = 0; i < info->input_count; i++) free((void *)inputs[i]);
  for (int32_t i = 0; i < info->output_count; i++) free(outputs[i]);
  free(inputs);
  free(outputs);
  free(memory);
  return 0;
}
