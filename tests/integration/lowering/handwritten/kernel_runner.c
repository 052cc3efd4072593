/* Runs one kernel of TVM on buffers from standard input and writes them to standard output, on
 * arm64 Linux without a C library, which takes minutes to build, or TVM's runtime.
 *
 * Each buffer: code, bits and lanes of its type and its count, int32 each, then its values. */

#include <stddef.h>
#include <stdint.h>
#include <tvm/ffi/c_api.h>

enum { READ = 63, WRITE = 64, EXIT = 93, MOST = 64 };

int __tvm_ffi_f(void *self, const TVMFFIAny *args, int32_t count, TVMFFIAny *result);

static long system_call(long number, long a, long b, long c) {
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}

static void end(int status) {
    for (;;) system_call(EXIT, status, 0, 0);
}

/* Bytes read: fewer than wanted only at the end. */
static size_t take(void *to, size_t size) {
    size_t at = 0;
    for (long got; at < size; at += got)
        if ((got = system_call(READ, 0, (long)to + at, size - at)) <= 0) break;
    return at;
}

static void give(const void *from, size_t size) {
    long sent;
    for (size_t at = 0; at < size; at += sent)
        if ((sent = system_call(WRITE, 1, (long)from + at, size - at)) <= 0) end(3);
}

static uint8_t memory[16 << 20] __attribute__((aligned(64)));
static size_t used;

static void *room(size_t size) {
    void *found = memory + used;
    used += (size + 63) / 64 * 64;
    if (used > sizeof memory) end(4);
    return found;
}

/* What kernels call. */

void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count) {
    end(5);
}

static void *allocate(int type, int id, uint64_t size, int code, int bits) { return room(size); }

static int give_back(int type, int id, void *data) { return 0; }

void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int) = allocate;
int (*__TVMBackendFreeWorkspace)(int, int, void *) = give_back;

void *memset(void *to, int value, size_t size) {
    for (size_t i = 0; i < size; i++) ((volatile uint8_t *)to)[i] = (uint8_t)value;
    return to;
}

static TVMFFIAny args[MOST], result;
static DLTensor tensors[MOST];
static int64_t shapes[MOST];
static int64_t stride = 1;

void _start(void) {
    int32_t head[4], count = 0;
    for (; take(head, sizeof head) == sizeof head; count++) {
        if (count == MOST) end(6);
        size_t size = (size_t)head[3] * head[1] / 8;
        DLTensor *tensor = &tensors[count];
        tensor->data = room(size);
        if (take(tensor->data, size) != size) end(1);
        shapes[count] = head[3];
        tensor->device.device_type = kDLCPU;
        tensor->ndim = 1;
        tensor->dtype.code = head[0];
        tensor->dtype.bits = head[1];
        tensor->dtype.lanes = head[2];
        tensor->shape = &shapes[count];
        tensor->strides = &stride;
        args[count].type_index = kTVMFFIDLTensorPtr;
        args[count].v_ptr = tensor;
    }
    if (__tvm_ffi_f(NULL, args, count, &result) != 0) end(2);
    for (int32_t i = 0; i < count; i++)
        give(tensors[i].data, (size_t)shapes[i] * tensors[i].dtype.bits / 8);
    end(0);
}
