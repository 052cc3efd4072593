/* A text encoder: token ids in, vectors out. C11, libm, POSIX threads, no other library.
 *
 * The short way: nasc_init once, nasc_encode from any thread, nasc_quit at the end.
 * The long way: a model (the weights), and a context for each thread that encodes (its memory and
 * its helpers). Nothing allocates memory after nasc_init or nasc_context_make.
 *
 * Functions that return int return NASC_OK or one of the codes below; then nothing was written to
 * what they give. nasc_error_text says in words what a code means. */
#ifndef NASC_H
#define NASC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  NASC_OK = 0,
  NASC_BAD_ARGUMENT = -1,
  NASC_BAD_LENGTH = -2,
  NASC_BAD_TOKEN = -3,
  NASC_BAD_MASK = -4,
  NASC_NOT_READY = -5,
  NASC_BUSY = -6,
  NASC_NO_MEMORY = -7,
  NASC_NO_THREADS = -8,
  NASC_NO_FILE = -9,
  NASC_DAMAGED = -10,
  NASC_OTHER_NETWORK = -11,
  NASC_WRONG_PROCESSOR = -12,
  NASC_INIT_TWICE = -13,
};

/* Of any code, others included. Never NULL; not to be freed. */
const char *nasc_error_text(int code);

/* What the network is. */
int nasc_max_length(void);          /* tokens of the longest text */
int nasc_tokens(void);              /* token ids are from 0 to one less */
size_t nasc_output_floats(int length); /* that one text of so many tokens gives; 0: no such text */

/* The short way. */

/* weights: the weights file; NULL takes those linked into the program (CMake:
 * NASC_LINK_WEIGHTS). threads: that one call may use, 1 to 64. callers: calls that may run at once,
 * 1 to 64; more wait for their turn. */
int nasc_init(const char *weights, int threads, int callers);

/* ids, mask: int64 (batch, length), mask 1 for tokens and 0 for padding. out: float, batch times
 * nasc_output_floats(length). From any number of threads at once. */
int nasc_encode(const int64_t *ids, const int64_t *mask, int batch, int length, float *out);

/* Gives everything back. No call may be running. */
void nasc_quit(void);

/* The long way. */

typedef struct nasc_model nasc_model;
typedef struct nasc_context nasc_context;

/* Maps a weights file into memory, read only, and checks all of it. Programs that open the same
 * file share it. It must not be cut short while it is open. */
int nasc_model_open(const char *weights, nasc_model **out);

/* The same of a weights file that lies in memory already, at a multiple of 64 bytes; it must stay
 * there until nasc_model_close. */
int nasc_model_open_memory(const void *weights, size_t bytes, nasc_model **out);

/* No context of it may be left. NULL is ignored. */
void nasc_model_close(nasc_model *model);

/* Memory that a context takes; 0 where the arguments are wrong. max_length: tokens of its longest
 * text; 0 stands for nasc_max_length(). */
size_t nasc_context_bytes(int threads, int max_length);

/* memory: the caller's, of bytes bytes, which must be there until nasc_context_free; NULL
 * allocates it. threads: threads beside the caller's, plus 1. With a batch of at least so many texts
 * each thread takes whole texts; with a smaller one all share each text. Results are the same to
 * the bit, whatever the number. */
int nasc_context_make(const nasc_model *model, int threads, int max_length, void *memory,
                      size_t bytes, nasc_context **out);

/* As nasc_encode. One call at a time for each context: another gets NASC_BUSY. */
int nasc_context_encode(nasc_context *context, const int64_t *ids, const int64_t *mask, int batch,
                        int length, float *out);

/* Ends its threads. NULL is ignored. */
void nasc_context_free(nasc_context *context);

#ifdef __cplusplus
}
#endif

#endif
