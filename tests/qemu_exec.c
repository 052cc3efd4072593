/* Preloaded into the shell of the emulated phone: programs for 64-bit ARM run under qemu, without
 * root and without the kernel's help. PHONE_QEMU is qemu's program for one user process, PHONE_ROOT
 * the folder in which the phone's files lie: qemu looks there first for any path. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEAD_BYTES = 20, MACHINE = 18, AARCH64 = 183, WORDS_BEFORE = 9 };

typedef int execve_function(const char *, char *const *, char *const *);

static int is_for_arm(const char *path) {
  unsigned char head[HEAD_BYTES];
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return 0;
  }
  ssize_t size = read(file, head, sizeof head);
  (void)close(file);
  return size == HEAD_BYTES && memcmp(head, "\177ELF", 4) == 0 && head[MACHINE] == AARCH64;
}

int execve(const char *path, char *const argv[], char *const envp[]) {
  execve_function *real = (execve_function *)dlsym(RTLD_NEXT, "execve");
  char *qemu = getenv("PHONE_QEMU");
  char *root = getenv("PHONE_ROOT");
  if (qemu == NULL || root == NULL || access(path, X_OK) != 0 || !is_for_arm(path)) {
    return real(path, argv, envp);
  }
  size_t count = 0;
  while (argv[count] != NULL) {
    count++;
  }
  char *before[WORDS_BEFORE] = {qemu, "-cpu", "cortex-a76", "-L",    root,
                                "-U", "LD_PRELOAD", "-0",   argv[0]};
  char **words = calloc(WORDS_BEFORE + count + 1, sizeof *words);
  if (words == NULL) {
    return -1;
  }
  memcpy(words, before, sizeof before);
  words[WORDS_BEFORE] = (char *)path;
  for (size_t i = 1; i < count; i++) {
    words[WORDS_BEFORE + i] = argv[i];
  }
  return real(qemu, words, envp);
}
