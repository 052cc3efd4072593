#include "nasc_cpu.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct feature {
  const char *name;
  unsigned word, bit;
};

#if defined(__x86_64__)

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Words: CPUID leaf 1 ecx, leaf 7 ebx, leaf 7 ecx, leaf 7.1 eax, leaf 0x80000001 ecx, leaf 7 edx
 * (Intel's manual, volume 2A, CPUID). */
enum { WORDS = 6 };
static const struct feature FEATURES[] = {
    {"fma", 0, 12},      {"movbe", 0, 22},    {"avx", 0, 28},         {"f16c", 0, 29},
    {"bmi1", 1, 3},      {"avx2", 1, 5},      {"bmi2", 1, 8},         {"avx512f", 1, 16},
    {"avx512dq", 1, 17}, {"avx512cd", 1, 28}, {"avx512bw", 1, 30},    {"avx512vl", 1, 31},
    {"avx512_vnni", 2, 11}, {"avx_vnni", 3, 4}, {"avx512_bf16", 3, 5}, {"abm", 4, 5},
    {"amx_bf16", 5, 22}, {"amx_tile", 5, 24}, {"amx_int8", 5, 25},
};

/* State that the system saves (XCR0): of AVX, of AVX-512 beside it, of AMX. */
enum { XCR0_AVX = 0x06, XCR0_AVX512 = 0xe6, XCR0_AMX = 0x60000 };

/* arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA): a process has to ask before it uses tiles. */
enum { ASK = 0x1023, TILES = 18 };

static uint64_t saved_state(void) {
  uint32_t low;
  uint32_t high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

static void read_words(uint32_t words[WORDS]) {
  uint32_t a;
  uint32_t b;
  uint32_t c;
  uint32_t d;
  uint32_t leaves = 0;
  memset(words, 0, WORDS * sizeof *words);
  if (!__get_cpuid(1, &a, &b, &c, &d)) {
    return;
  }
  words[0] = c;
  uint64_t saved = c >> 27 & 1 ? saved_state() : 0; /* OSXSAVE */
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    leaves = a;
    words[1] = b;
    words[2] = c;
    words[5] = d;
  }
  if (leaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
    words[3] = a;
  }
  if (__get_cpuid(0x80000001, &a, &b, &c, &d)) {
    words[4] = c;
  }
  const uint32_t amx = UINT32_C(1) << 22 | UINT32_C(1) << 24 | UINT32_C(1) << 25;
  if ((words[5] & amx) != 0 &&
      ((saved & XCR0_AMX) != XCR0_AMX || syscall(SYS_arch_prctl, ASK, TILES) != 0)) {
    words[5] &= ~amx;
  }
  for (size_t i = 0; i < sizeof FEATURES / sizeof *FEATURES; i++) {
    const struct feature *one = FEATURES + i;
    bool wide = strncmp(one->name, "avx512", 6) == 0;
    bool vector = strncmp(one->name, "avx", 3) == 0 || strcmp(one->name, "fma") == 0;
    uint64_t needed = wide ? XCR0_AVX512 : vector ? XCR0_AVX : 0;
    if ((saved & needed) != needed) {
      words[one->word] &= ~(UINT32_C(1) << one->bit);
    }
  }
}

#elif defined(__aarch64__)

#include <sys/auxv.h>

/* Words: AT_HWCAP, AT_HWCAP2; bits as in Linux, arch/arm64/include/uapi/asm/hwcap.h. */
enum { WORDS = 2 };
static const struct feature FEATURES[] = {
    {"fp", 0, 0}, {"asimd", 0, 1}, {"asimdhp", 0, 10}, {"asimddp", 0, 20}, {"i8mm", 1, 13},
    {"bf16", 1, 14},
};

static void read_words(uint32_t words[WORDS]) {
  words[0] = (uint32_t)getauxval(AT_HWCAP);
  words[1] = (uint32_t)getauxval(AT_HWCAP2);
}

#else
#error "networks are made for x86-64 and arm64"
#endif

bool nasc_cpu_has(const char *const *features) {
  uint32_t words[WORDS];
  read_words(words);
  for (; *features != NULL; features++) {
    bool has = false;
    for (size_t i = 0; i < sizeof FEATURES / sizeof *FEATURES; i++) {
      if (strcmp(*features, FEATURES[i].name) == 0) {
        has = words[FEATURES[i].word] >> FEATURES[i].bit & 1;
      }
    }
    if (!has) {
      return false;
    }
  }
  return true;
}
