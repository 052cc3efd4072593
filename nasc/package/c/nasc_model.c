#include "nasc_model.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nasc_cpu.h"
#include "nasc_network.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weights are stored for little-endian processors"
#endif

/* Of the file: magic, size of the whole, CRC-32 of what follows the header, 0, identity, 0. */
static const unsigned char MAGIC[8] = {'N', 'A', 'S', 'C', 'W', 'T', 'S', '1'};
enum { SIZE_AT = 8, CRC_AT = 16, ZERO_AT = 20, IDENTITY_AT = 24, REST_AT = 56, HEADER_BYTES = 64 };

static uint64_t number_at(const unsigned char *bytes, size_t count) {
  uint64_t found = 0;
  for (size_t i = count; i-- > 0;) {
    found = found << 8 | bytes[i];
  }
  return found;
}

/* CRC-32 as in zlib, eight bytes at a time (Kounavis and Berry, "Novel Table Lookup-Based
 * Algorithms for High-Performance CRC Generation", 2008). */
static uint32_t crc32_of(const unsigned char *bytes, size_t size) {
  uint32_t table[8][256];
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; bit++) {
      value = value >> 1 ^ (value & 1 ? UINT32_C(0xedb88320) : 0);
    }
    table[0][i] = value;
  }
  for (int k = 1; k < 8; k++) {
    for (uint32_t i = 0; i < 256; i++) {
      table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 255];
    }
  }
  uint32_t crc = UINT32_MAX;
  for (; size >= 8; size -= 8, bytes += 8) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    word ^= crc;
    crc = 0;
    for (int k = 0; k < 8; k++) {
      crc ^= table[7 - k][word >> 8 * k & 255];
    }
  }
  for (; size > 0; size--, bytes++) {
    crc = crc >> 8 ^ table[0][(crc ^ *bytes) & 255];
  }
  return ~crc;
}

static int check(const unsigned char *weights, size_t bytes) {
  static const unsigned char zeros[HEADER_BYTES - REST_AT];
  if (bytes < HEADER_BYTES || memcmp(weights, MAGIC, sizeof MAGIC) != 0 ||
      number_at(weights + SIZE_AT, 8) != bytes ||
      memcmp(weights + REST_AT, zeros, sizeof zeros) != 0 || number_at(weights + ZERO_AT, 4) != 0 ||
      number_at(weights + CRC_AT, 4) != crc32_of(weights + HEADER_BYTES, bytes - HEADER_BYTES)) {
    return NASC_DAMAGED;
  }
  if (memcmp(weights + IDENTITY_AT, nasc_network.identity, NASC_IDENTITY_BYTES) != 0 ||
      bytes != nasc_network.weights_bytes) {
    return NASC_OTHER_NETWORK;
  }
  return NASC_OK;
}

static int make(const unsigned char *weights, size_t bytes, size_t mapped, nasc_model **out) {
  int code = nasc_cpu_has(nasc_network.features) ? check(weights, bytes) : NASC_WRONG_PROCESSOR;
  if (code != NASC_OK) {
    return code;
  }
  nasc_model *made = malloc(sizeof *made);
  if (made == NULL) {
    return NASC_NO_MEMORY;
  }
  made->weights = weights;
  made->mapped = mapped;
  *out = made;
  return NASC_OK;
}

/* Maps a whole file; NASC_DAMAGED where it is too short for a header. */
static int map(const char *path, void **weights, size_t *bytes) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return NASC_NO_FILE;
  }
  struct stat about;
  int code = NASC_NO_FILE;
  if (fstat(file, &about) == 0 && S_ISREG(about.st_mode)) {
    code = NASC_DAMAGED;
    if (about.st_size >= HEADER_BYTES && (uint64_t)about.st_size <= SIZE_MAX) {
      *bytes = (size_t)about.st_size;
      *weights = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, file, 0);
      code = *weights == MAP_FAILED ? NASC_NO_MEMORY : NASC_OK;
    }
  }
  close(file);
  return code;
}

int nasc_model_open(const char *path, nasc_model **out) {
  if (path == NULL || out == NULL) {
    return NASC_BAD_ARGUMENT;
  }
  void *weights = NULL;
  size_t bytes = 0;
  int code = map(path, &weights, &bytes);
  if (code != NASC_OK) {
    return code;
  }
  code = make(weights, bytes, bytes, out);
  if (code != NASC_OK) {
    munmap(weights, bytes);
  }
  return code;
}

int nasc_model_open_memory(const void *weights, size_t bytes, nasc_model **out) {
  if (weights == NULL || out == NULL || (uintptr_t)weights % NASC_ALIGNMENT != 0) {
    return NASC_BAD_ARGUMENT;
  }
  return make(weights, bytes, 0, out);
}

void nasc_model_close(nasc_model *model) {
  if (model == NULL) {
    return;
  }
  if (model->mapped > 0) {
    munmap((void *)(uintptr_t)model->weights, model->mapped);
  }
  free(model);
}
