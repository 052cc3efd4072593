/* A network as its generated source, nasc_network.c, describes it. */
#ifndef NASC_NETWORK_H
#define NASC_NETWORK_H

#include <stdint.h>

/* Computes the parts first to end - 1 of a kernel. */
typedef void (*nasc_kernel)(void *const *arguments, int32_t first, int32_t end);

enum { NASC_MAX_ARGUMENTS = 32, NASC_ALIGNMENT = 64, NASC_IDENTITY_BYTES = 32 };

/* One kernel on one set of buffers. Arguments are count places of the program's list, from
 * arguments on. */
struct nasc_step {
  nasc_kernel kernel;
  int32_t parts; /* that may be computed in any order, or at once */
  uint16_t count;
  uint32_t arguments;
};

/* The network for texts of one length. */
struct nasc_program {
  int32_t length;
  uint32_t step_count;
  const struct nasc_step *steps;
  const int64_t *arguments; /* 0 or more: a place in the arena; below: ~place in the weights */
  uint64_t arena_bytes;
  uint64_t ids, mask, output; /* places in the arena */
};

struct nasc_network {
  unsigned char identity[NASC_IDENTITY_BYTES];
  uint64_t weights_bytes; /* of the whole file */
  int64_t tokens;
  int32_t program_count;
  const struct nasc_program *programs; /* by ascending length */
  /* Floats that a text gives: outer times (its length or 1) times inner. */
  int32_t outer, inner;
  int32_t by_token; /* 1: the middle axis is as long as the text */
  const char *const *features; /* of the processor, as Linux calls them; ends with NULL */
};

extern const struct nasc_network nasc_network;

#endif
