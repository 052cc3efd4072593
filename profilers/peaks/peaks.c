/* What one core can do: multiply-adds in registers, and reading arrays of two sizes.

   Prints a line for each repetition of each quantity: its name, a space, and units per second
   (operations, two for a multiply-add; or bytes). The caller takes quantiles. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512VNNI__) || defined(__AMX_INT8__)
#include <immintrin.h>
#endif
#if defined(__AMX_INT8__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(__AVX512F__)
#define WIDTH 64
#elif defined(__AVX__)
#define WIDTH 32
#else
#define WIDTH 16
#endif

typedef float floats __attribute__((vector_size(WIDTH)));
typedef uint64_t words __attribute__((vector_size(WIDTH)));

enum { CHAINS = 12, ROUNDS = 200000, REPEATS = 40 };

static volatile float float_sink;
static volatile uint64_t word_sink;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Twelve sums that do not wait for each other: more than latency times units of any core. */
static double fp32_per_s(void) {
    floats sums[CHAINS];
    floats factor = (floats){0} + 0.999F, term = (floats){0} + 1e-3F;
    for (int i = 0; i < CHAINS; i++) sums[i] = (floats){0} + (float)i;
    __asm__ volatile("" : "+m"(factor), "+m"(term));
    double start = now_s();
    for (int round = 0; round < ROUNDS; round++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < CHAINS; i++) sums[i] = sums[i] * factor + term;
    }
    double taken = now_s() - start;
    for (int i = 0; i < CHAINS; i++) float_sink = sums[i][0];
    return 2.0 * ROUNDS * CHAINS * (WIDTH / 4) / taken;
}

#if defined(__AVX512VNNI__)
static double int8_per_s(void) {
    __m512i sums[CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5);
    for (int i = 0; i < CHAINS; i++) sums[i] = _mm512_set1_epi32(i);
    __asm__ volatile("" : "+v"(a), "+v"(b));
    double start = now_s();
    for (int round = 0; round < ROUNDS; round++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < CHAINS; i++) {
            sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
            __asm__ volatile("" : "+v"(sums[i])); /* not folded into one */
        }
    }
    double taken = now_s() - start;
    for (int i = 0; i < CHAINS; i++) word_sink = (uint64_t)_mm512_reduce_add_epi32(sums[i]);
    return 2.0 * ROUNDS * CHAINS * 64 / taken;
}
#endif

#if defined(__AVX512BF16__)
static double bf16_per_s(void) {
    __m512 sums[CHAINS];
    __m512i a = _mm512_set1_epi16(0x3f80), b = _mm512_set1_epi16(0x3c00); /* 1, 2^-7 */
    for (int i = 0; i < CHAINS; i++) sums[i] = _mm512_set1_ps((float)i);
    __asm__ volatile("" : "+v"(a), "+v"(b));
    double start = now_s();
    for (int round = 0; round < ROUNDS; round++) {
#pragma clang loop unroll(full)
        for (int i = 0; i < CHAINS; i++) {
            sums[i] = _mm512_dpbf16_ps(sums[i], (__m512bh)a, (__m512bh)b);
            __asm__ volatile("" : "+v"(sums[i])); /* not folded into one */
        }
    }
    double taken = now_s() - start;
    for (int i = 0; i < CHAINS; i++) float_sink = _mm512_reduce_add_ps(sums[i]);
    return 2.0 * ROUNDS * CHAINS * 32 / taken;
}
#endif

#if defined(__AMX_INT8__)
/* Linux has to be asked before tiles are used: ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA. */
static int may_use_tiles(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

static void shape_tiles(void) {
    uint8_t shapes[64] __attribute__((aligned(64))) = {1};
    for (int tile = 0; tile < 8; tile++) {
        shapes[16 + 2 * tile] = 64;
        shapes[48 + tile] = 16;
    }
    _tile_loadconfig(shapes);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
}

/* Four sums of 16 x 16, of products of 16 x 64 bytes by 64 x 16: as many as there are tiles for. */
static double int8_tiles_per_s(void) {
    shape_tiles();
    double start = now_s();
    for (int round = 0; round < ROUNDS / 4; round++) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    double taken = now_s() - start;
    _tile_release();
    return 2.0 * (ROUNDS / 4) * 4 * 16 * 16 * 64 / taken;
}

/* The same of 16 x 32 numbers in bfloat16. */
static double bf16_tiles_per_s(void) {
    shape_tiles();
    double start = now_s();
    for (int round = 0; round < ROUNDS / 4; round++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    double taken = now_s() - start;
    _tile_release();
    return 2.0 * (ROUNDS / 4) * 4 * 16 * 16 * 32 / taken;
}
#endif

static double read_per_s(const words *data, size_t bytes, int times) {
    size_t count = bytes / sizeof(words);
    words sums[8] = {{0}};
    double start = now_s();
    for (int again = 0; again < times; again++) {
        for (size_t at = 0; at + 8 <= count; at += 8) {
#pragma clang loop unroll(full)
            for (int i = 0; i < 8; i++) sums[i] += data[at + (size_t)i];
        }
        __asm__ volatile("" : : "r"(data) : "memory"); /* read anew each time */
    }
    double taken = now_s() - start;
    for (int i = 0; i < 8; i++) word_sink = sums[i][0];
    return (double)bytes * times / taken;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    size_t small = (size_t)strtoull(argv[1], NULL, 10), large = (size_t)strtoull(argv[2], NULL, 10);
    words *data = aligned_alloc(64, large);
    if (data == NULL || small > large) return 1;
    memset(data, 1, large);
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        printf("fp32 %.6e\n", fp32_per_s());
#if defined(__AMX_INT8__)
        if (may_use_tiles()) {
            printf("int8_tiles %.6e\n", int8_tiles_per_s());
            printf("bf16_tiles %.6e\n", bf16_tiles_per_s());
        }
#endif
#if defined(__AVX512BF16__)
        printf("bf16 %.6e\n", bf16_per_s());
#endif
#if defined(__AVX512VNNI__)
        printf("int8 %.6e\n", int8_per_s());
#endif
        read_per_s(data, small, 1);
        printf("cache %.6e\n", read_per_s(data, small, 64));
        if (repeat % 4 == 0) printf("memory %.6e\n", read_per_s(data, large, 1));
    }
    free(data);
    return 0;
}
