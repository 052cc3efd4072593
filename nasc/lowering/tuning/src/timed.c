/* Times the kernel that it is linked with, in a process of its own: TVM's RPC server stops serving
 * for good when the process that it runs code in crashes (0.27), so no candidate may do that. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tensors.h"

enum { LEAST_RUNS = 3, FAILED = 3, EXIT_CODES = 1000 };

typedef struct {
  int64_t runs;
  double seconds[];
} Shared;

int __tvm_ffi_main(void *self, const TVMFFIAny *args, int32_t count, TVMFFIAny *result);

static int64_t elements(const DLTensor *tensor) {
  int64_t all = 1;
  for (int axis = 0; axis < tensor->ndim; axis++) all *= tensor->shape[axis];
  return all;
}

/* Made-up values: floats from 0 to 1, whole numbers 0 or 1. */
static void fill(const DLTensor *tensor, uint64_t *state) {
  char *data = (char *)tensor->data + tensor->byte_offset;
  int64_t all = elements(tensor), size = tensor->dtype.bits / 8 * tensor->dtype.lanes;
  for (int64_t i = 0; i < all; i++, data += size) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    if (tensor->dtype.code == kDLFloat && size == 4) {
      float value = (float)(*state >> 40) / (float)(1 << 24);
      memcpy(data, &value, 4);
    } else if (tensor->dtype.code == kDLFloat && size == 8) {
      double value = (double)(*state >> 11) / (double)(1LL << 53);
      memcpy(data, &value, 8);
    } else if (tensor->dtype.code == kDLFloat || tensor->dtype.code == kDLBfloat) {
      /* from 0.5 to 1 */
      uint16_t value = tensor->dtype.code == kDLFloat ? (uint16_t)(0x3800 | (*state & 0x3ff))
                                                      : (uint16_t)(0x3f00 | (*state & 0x7f));
      memcpy(data, &value, 2);
    } else {
      memset(data, 0, (size_t)size);
      data[0] = (char)(*state >> 63);
    }
  }
}

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void run(Shared *shared, int64_t most, double duration_s, const TVMFFIAny *args,
                int32_t count) {
  uint64_t state = 0x9e3779b97f4a7c15ULL;
  for (int32_t i = 0; i < count; i++) fill(tensor_of(&args[i]), &state);
  TVMFFIAny none = {0};
  if (__tvm_ffi_main(NULL, args, count, &none) != 0) _exit(FAILED);
  double start = now_s();
  while (shared->runs < LEAST_RUNS || (shared->runs < most && now_s() - start < duration_s)) {
    double before = now_s();
    if (__tvm_ffi_main(NULL, args, count, &none) != 0) _exit(FAILED);
    shared->seconds[shared->runs] = now_s() - before;
    shared->runs++;
  }
}

/* Args: threads; seconds that it runs for; seconds after which it is ended; a float64 tensor that
 * the seconds of its runs are written to; then what the kernel takes. Result: runs; or where it was
 * ended by a signal that number, negative; or -1000 less its exit code; 0 where
 * it is given anything else. */
__attribute__((visibility("default"))) int __tvm_ffi_nasc_timed(void *self, const TVMFFIAny *args,
                                                                int32_t count, TVMFFIAny *result) {
  (void)self;
  DLTensor *times = count < 4 ? NULL : tensor_of(&args[3]);
  int64_t most = times == NULL ? 0 : elements(times);
  result->type_index = kTVMFFIInt;
  result->v_int64 = 0;
  for (int32_t i = 4; i < count; i++) {
    if (tensor_of(&args[i]) == NULL) return 0;
  }
  if (most < LEAST_RUNS) return 0;
  size_t size = sizeof(Shared) + (size_t)most * sizeof(double);
  Shared *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  result->v_int64 = -EXIT_CODES;
  if (shared == MAP_FAILED) return 0;
  pid_t child = fork();
  if (child == 0) {
    static const int plain[] = {SIGALRM, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTERM};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) signal(plain[i], SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm((unsigned)args[2].v_int64);
    char threads[24];
    snprintf(threads, sizeof threads, "%lld", (long long)args[0].v_int64);
    setenv("TVM_NUM_THREADS", threads, 1); /* TVM's pool is made by the first run, here */
    run(shared, most, args[1].v_float64, args + 4, count - 4);
    _exit(0);
  }
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) child = -1;
  }
  if (child > 0) {
    if (WIFSIGNALED(status)) {
      result->v_int64 = -WTERMSIG(status);
    } else if (WEXITSTATUS(status) != 0) {
      result->v_int64 = -EXIT_CODES - WEXITSTATUS(status);
    } else {
      result->v_int64 = shared->runs;
      memcpy((char *)times->data + times->byte_offset, shared->seconds,
             (size_t)shared->runs * sizeof(double));
    }
  }
  munmap(shared, size);
  return 0;
}
