/* Prints what the encoder gives for one text, a number a line: example FOLDER ID ID ... */
#include <stdio.h>
#include <stdlib.h>

#include "encoder.h"

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "example FOLDER TOKEN_ID ...\n");
    return 2;
  }
  int seq_len = argc - 2;
  int64_t *ids = malloc(seq_len * sizeof *ids), *mask = malloc(seq_len * sizeof *mask);
  float *output = malloc(nasc_encoder_numbers(1, seq_len) * sizeof *output);
  nasc_encoder *encoder = nasc_encoder_open(argv[1], 1);
  int status = ids == NULL || mask == NULL || output == NULL || encoder == NULL;
  if (status == 0) {
    for (int i = 0; i < seq_len; i++) {
      ids[i] = strtoll(argv[i + 2], NULL, 10);
      mask[i] = 1;
    }
    status = nasc_encoder_run(encoder, ids, mask, 1, seq_len, output);
  }
  if (status == 0) {
    for (size_t i = 0; i < nasc_encoder_numbers(1, seq_len); i++) printf("%.9g\n", output[i]);
  } else {
    fprintf(stderr, "%s\n", nasc_encoder_error());
  }
  nasc_encoder_close(encoder);
  free(output);
  free(mask);
  free(ids);
  return status != 0;
}
