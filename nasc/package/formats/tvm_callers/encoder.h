/* The encoder of this folder, from C: token ids in, vectors out.
 *
 * Compile encoder.c with your program and link with libtvm_ffi.so of this folder: README.md has the
 * command. model.h says what the network takes and gives.
 */
#ifndef NASC_ENCODER_H
#define NASC_ENCODER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nasc_encoder nasc_encoder;

/* Opens a folder like this one for so many threads, which the whole process shares. model.so is code:
 * open what you trust. NULL where it fails: nasc_encoder_error says why. */
nasc_encoder *nasc_encoder_open(const char *folder, int threads);

/* How many floats nasc_encoder_run writes for `batch` texts of `seq_len` tokens. */
size_t nasc_encoder_numbers(int batch, int seq_len);

/* Runs texts, of shape (batch, seq_len) with rows one after the other; mask is 1 of a token and 0 of
 * the padding after them. Writes the first output, row after row. 0 where it went well. One thread
 * of a process at a time may run an encoder. */
int nasc_encoder_run(nasc_encoder *encoder, const int64_t *ids, const int64_t *mask, int batch,
                     int seq_len, float *output);

void nasc_encoder_close(nasc_encoder *encoder);

/* Why the last call of this thread failed; empty where none has. */
const char *nasc_encoder_error(void);

#ifdef __cplusplus
}
#endif
#endif
