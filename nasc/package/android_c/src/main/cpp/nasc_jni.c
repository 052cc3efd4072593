/* SPDX-License-Identifier: Apache-2.0
 * What NativeLibrary.kt calls of the library in C. Nothing is kept here. */
#include <jni.h>
#include <stdint.h>
#include <stdlib.h>

#include "nasc.h"

_Static_assert(sizeof(jlong) == sizeof(int64_t), "tokens are of 64 bits");

JNIEXPORT jint JNICALL Java_nasc_encoder_NativeLibrary_init(JNIEnv *env, jclass type, jint threads,
                                                            jint callers) {
  (void)env;
  (void)type;
  return nasc_init(NULL, threads, callers);
}

JNIEXPORT jint JNICALL Java_nasc_encoder_NativeLibrary_outputFloats(JNIEnv *env, jclass type,
                                                                    jint tokens) {
  (void)env;
  (void)type;
  size_t floats = nasc_output_floats(tokens);
  return floats <= INT32_MAX ? (jint)floats : 0;
}

/* Writes to out what nasc_encode gives. Arrays are checked: Java's own are of any size. */
JNIEXPORT jint JNICALL Java_nasc_encoder_NativeLibrary_encode(JNIEnv *env, jclass type,
                                                              jlongArray ids, jlongArray mask,
                                                              jint rows, jint tokens,
                                                              jfloatArray out) {
  (void)type;
  size_t floats = nasc_output_floats(tokens);
  if (rows < 1 || tokens < 1 || floats == 0) {
    return rows < 1 ? NASC_BAD_ARGUMENT : NASC_BAD_LENGTH;
  }
  int64_t count = (int64_t)rows * tokens, size = (int64_t)rows * (int64_t)floats;
  if ((*env)->GetArrayLength(env, ids) != count || (*env)->GetArrayLength(env, mask) != count ||
      (*env)->GetArrayLength(env, out) != size) {
    return NASC_BAD_ARGUMENT;
  }
  int code = NASC_NO_MEMORY;
  float *values = malloc((size_t)size * sizeof *values);
  jlong *own_ids = values == NULL ? NULL : (*env)->GetLongArrayElements(env, ids, NULL);
  jlong *own_mask = own_ids == NULL ? NULL : (*env)->GetLongArrayElements(env, mask, NULL);
  if (own_mask != NULL) {
    code = nasc_encode((const int64_t *)own_ids, (const int64_t *)own_mask, rows, tokens, values);
    (*env)->ReleaseLongArrayElements(env, mask, own_mask, JNI_ABORT);
  }
  if (own_ids != NULL) {
    (*env)->ReleaseLongArrayElements(env, ids, own_ids, JNI_ABORT);
  }
  if (code == NASC_OK) {
    (*env)->SetFloatArrayRegion(env, out, 0, (jsize)size, values);
  }
  free(values);
  return code;
}

JNIEXPORT void JNICALL Java_nasc_encoder_NativeLibrary_quit(JNIEnv *env, jclass type) {
  (void)env;
  (void)type;
  nasc_quit();
}

JNIEXPORT jstring JNICALL Java_nasc_encoder_NativeLibrary_errorText(JNIEnv *env, jclass type,
                                                                    jint code) {
  (void)type;
  return (*env)->NewStringUTF(env, nasc_error_text(code));
}
