/* Runs the tokenizer for tests: what it is given lies in blocks of exactly its size, so that the
 * sanitizers see every byte read beyond.
 *
 *   driver encode FILE < REQUESTS   texts, as tests/integration/package/tokenizer/port.py packs them
 *   driver damage FILE SEED COUNT   opens the file with bytes changed and its checksum renewed
 *   driver bytes FILE SEED COUNT    texts of random bytes
 *   driver long FILE BYTES          texts of one character again and again
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

enum { NO_PAIR = -1, HEADER = 20 };

static uint64_t state;

static uint32_t rnd(uint32_t below) { /* xorshift64* */
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return (uint32_t)((state * 0x2545F4914F6CDD1Du) >> 33) % below;
}

static void *block(size_t size) {
  void *made = malloc(size ? size : 1);
  if (!made) {
    fprintf(stderr, "no memory for %zu bytes\n", size);
    exit(3);
  }
  return made;
}

static uint8_t *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END) != 0) {
    exit(3);
  }
  *size = (size_t)ftell(file);
  rewind(file);
  uint8_t *data = block(*size);
  if (fread(data, 1, *size, file) != *size) {
    exit(3);
  }
  fclose(file);
  return data;
}

static int64_t encode(const struct nasc_tokenizer *tokenizer, const char *text, size_t bytes,
                      const char *pair, size_t pair_bytes, size_t longest, size_t capacity,
                      size_t most_scratch, FILE *out) {
  size_t need = nasc_tokenizer_scratch(tokenizer, bytes, pair_bytes);
  need = need < most_scratch ? need : most_scratch;
  void *scratch = block(need);
  int64_t *ids = block(capacity * sizeof *ids), *types = block(capacity * sizeof *types);
  int64_t length = nasc_tokenizer_encode(tokenizer, text, bytes, pair, pair_bytes, longest, ids,
                                         types, capacity, scratch, need);
  if (out) {
    fwrite(&length, sizeof length, 1, out);
    if (length > 0) {
      fwrite(ids, sizeof *ids, (size_t)length, out);
      fwrite(types, sizeof *types, (size_t)length, out);
    }
  }
  free(types);
  free(ids);
  free(scratch);
  return length;
}

static char *take(size_t size) {
  char *data = block(size);
  if (fread(data, 1, size, stdin) != size) {
    exit(3);
  }
  return data;
}

static int answer(const struct nasc_tokenizer *tokenizer) {
  int32_t sizes[4]; /* of the text, of the pair, longest, capacity */
  while (fread(sizes, sizeof sizes, 1, stdin) == 1) {
    char *text = take((size_t)sizes[0]), *pair = NULL;
    if (sizes[1] != NO_PAIR) {
      pair = take((size_t)sizes[1]);
    }
    encode(tokenizer, text, (size_t)sizes[0], pair, pair ? (size_t)sizes[1] : 0,
           (size_t)sizes[2], (size_t)sizes[3], SIZE_MAX, stdout);
    free(text);
    free(pair);
  }
  return 0;
}

static void put_u32(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++) {
    at[i] = (uint8_t)(value >> 8 * i);
  }
}

static uint32_t crc32_of(const uint8_t *data, size_t size) {
  uint32_t table[256], sum = 0xFFFFFFFFu;
  for (uint32_t i = 0; i < 256; i++) {
    table[i] = i;
    for (int bit = 0; bit < 8; bit++) {
      table[i] = table[i] & 1 ? 0xEDB88320u ^ table[i] >> 1 : table[i] >> 1;
    }
  }
  for (size_t i = 0; i < size; i++) {
    sum = table[(sum ^ data[i]) & 0xFF] ^ sum >> 8;
  }
  return ~sum;
}

static const char *const probes[] = {
    "",
    "Hello, world! un\xC3\xA1 ffable [MASK] <mask> don't 3.14",
    "\xE4\xB8\xAD\xE6\x96\x87 e\xCC\x81\xCC\xA3 \xED\x95\x9C\xEA\xB5\xAD \xF0\x9F\x91\xA9\xE2\x80\x8D",
    "a\xCC\xA3\xCC\x81\xCC\x88  \xEF\xAC\x81 \xC2\xA9\xE2\x80\x8D\xC2\xA9 \xE2\x96\x81x",
};

/* Changes a few bytes of the file where it is likely to hurt, and opens it. */
static int damage(const uint8_t *data, size_t size, int count) {
  static const uint32_t evil[] = {0, 1, 2, 0x7F, 0x80, 0xFFFF, 0x10FFFF, 0x7FFFFFFF, 0x80000000u,
                                  0xFFFFFFFEu, 0xFFFFFFFFu};
  int opened = 0, same = 0;
  for (int round = 0; round < count; round++) {
    size_t left = rnd(8) == 0 ? rnd((uint32_t)size + 1) : size;
    uint8_t *copy = block(left);
    memcpy(copy, data, left);
    for (uint32_t changes = 1 + rnd(4); changes > 0 && left >= 24; changes--) {
      uint32_t at = rnd(3) == 0 ? 24 + rnd(500) : 24 + rnd((uint32_t)left - 23);
      if (rnd(4) != 0 && (size_t)at + 4 <= left) { /* whole numbers lie at multiples of four */
        put_u32(copy + (at & ~3u), rnd(2) ? evil[rnd(11)] : rnd(100000));
      } else if (at < left) {
        copy[at] = (uint8_t)rnd(256);
      }
    }
    if (left >= 24) {
      put_u32(copy + 12, (uint32_t)left);
      put_u32(copy + 16, crc32_of(copy + HEADER, left - HEADER));
    }
    struct nasc_tokenizer tokenizer;
    if (nasc_tokenizer_open(&tokenizer, copy, left) == 0) {
      opened++;
      for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
        const char *pair = rnd(2) ? probes[rnd(4)] : NULL;
        same += encode(&tokenizer, probes[i], strlen(probes[i]), pair, pair ? strlen(pair) : 0,
                       rnd(3) ? 0 : rnd(20), rnd(200), rnd(4) ? 1 << 20 : rnd(3000), NULL) > 0;
      }
    }
    free(copy);
  }
  printf("%d opened of %d, %d texts\n", opened, count, same);
  return 0;
}

static int random_bytes(const struct nasc_tokenizer *tokenizer, int count) {
  int refused = 0;
  for (int round = 0; round < count; round++) {
    size_t size = rnd(40);
    char *text = block(size);
    for (size_t i = 0; i < size; i++) {
      text[i] = (char)(rnd(3) ? rnd(256) : rnd(2) ? 'a' + rnd(3) : 0);
    }
    refused += encode(tokenizer, text, size, NULL, 0, rnd(2) * rnd(30), 512, SIZE_MAX, NULL) ==
               NASC_TOKENIZER_NOT_UTF8;
    free(text);
  }
  printf("%d refused of %d\n", refused, count);
  return 0;
}

static int long_texts(const struct nasc_tokenizer *tokenizer, size_t bytes) {
  static const char *const units[] = {"x", " ", "x ", ".", "\xE4\xB8\xAD", "\xCC\x81\xCC\xA3",
                                      "[MASK]", "<mask> ", "\xC3\xA9", "\xF0\x9F\x91\xA9"};
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    size_t unit = strlen(units[i]), size = bytes / unit * unit;
    char *text = block(size);
    for (size_t at = 0; at < size; at += unit) {
      memcpy(text + at, units[i], unit);
    }
    /* All of it as tokens, then the beginning of it. */
    int64_t whole = encode(tokenizer, text, size, NULL, 0, 0, size + 16, 80 * bytes, NULL);
    int64_t start = encode(tokenizer, text, size, text, size, 64, 64, 80 * bytes, NULL);
    printf("%s %lld %lld\n", units[i], (long long)whole, (long long)start);
    free(text);
  }
  return 0;
}

int main(int count, char **arguments) {
  if (count < 3) {
    return 2;
  }
  size_t size;
  uint8_t *data = read_file(arguments[2], &size);
  state = count > 3 ? strtoull(arguments[3], NULL, 10) * 2 + 1 : 1;
  int done = 2;
  struct nasc_tokenizer tokenizer;
  int opened = nasc_tokenizer_open(&tokenizer, data, size);
  if (opened != 0) {
    printf("%s\n", nasc_tokenizer_problem(opened));
  } else if (strcmp(arguments[1], "encode") == 0) {
    done = answer(&tokenizer);
  } else if (strcmp(arguments[1], "damage") == 0 && count == 5) {
    done = damage(data, size, atoi(arguments[4]));
  } else if (strcmp(arguments[1], "bytes") == 0 && count == 5) {
    done = random_bytes(&tokenizer, atoi(arguments[4]));
  } else if (strcmp(arguments[1], "long") == 0 && count == 4) {
    done = long_texts(&tokenizer, (size_t)atoll(arguments[3]));
  }
  free(data);
  return done;
}
