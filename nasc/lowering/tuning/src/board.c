/* What a board is, told to who tunes for it: a function of a library that TVM's RPC server loads.
 *
 * It writes lines "name: value", an empty line, and the text of /proc/cpuinfo. Names: machine (as
 * uname says it), cores (that are online), ffi (version of the TVM FFI library that runs it), and
 * package, once for each apache_tvm* that lies installed beside that library. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tensors.h"

typedef struct {
  char *text;
  size_t size, used;
} Text;

static void add(Text *to, const char *format, ...) {
  va_list values;
  va_start(values, format);
  int wanted = vsnprintf(to->text + to->used, to->size - to->used, format, values);
  va_end(values);
  if (wanted > 0) {
    to->used += (size_t)wanted;
    if (to->used >= to->size) to->used = to->size - 1;
  }
}

/* Names of what lies installed beside a library at FOLDER/tvm_ffi/lib/NAME. */
static void add_packages(Text *to, const char *library) {
  char path[4096];
  if (library == NULL || strlen(library) >= sizeof path) return;
  strcpy(path, library);
  for (int up = 0; up < 3; up++) {
    char *slash = strrchr(path, '/');
    if (slash == NULL) return;
    *slash = '\0';
  }
  DIR *folder = opendir(path);
  if (folder == NULL) return;
  for (struct dirent *one; (one = readdir(folder)) != NULL;) {
    if (strncmp(one->d_name, "apache_tvm", 10) == 0 && strstr(one->d_name, ".dist-info") != NULL) {
      add(to, "package: %s\n", one->d_name);
    }
  }
  closedir(folder);
}

/* Args: uint8 tensor that the text is written to. Result: bytes written; 0 where it
 * is given anything else. */
__attribute__((visibility("default"))) int __tvm_ffi_nasc_board(void *self, const TVMFFIAny *args,
                                                                int32_t count, TVMFFIAny *result) {
  (void)self;
  const DLTensor *out = count == 1 ? tensor_of(args) : NULL;
  result->type_index = kTVMFFIInt;
  result->v_int64 = 0;
  if (out == NULL || out->ndim != 1) return 0;
  Text told = {(char *)out->data + out->byte_offset, (size_t)out->shape[0], 0};
  struct utsname system;
  if (uname(&system) == 0) add(&told, "machine: %s\n", system.machine);
  add(&told, "cores: %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
  void (*get_version)(TVMFFIVersion *);
  *(void **)&get_version = dlsym(RTLD_DEFAULT, "TVMFFIGetVersion");
  if (get_version != NULL) {
    TVMFFIVersion version;
    get_version(&version);
    add(&told, "ffi: %u.%u.%u\n", version.major, version.minor, version.patch);
    Dl_info from;
    if (dladdr(*(void **)&get_version, &from) != 0) add_packages(&told, from.dli_fname);
  }
  add(&told, "\n");
  int file = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
  for (ssize_t got = 1; file >= 0 && got > 0 && told.used < told.size; told.used += (size_t)got) {
    got = read(file, told.text + told.used, told.size - told.used);
    if (got < 0) got = 0;
  }
  if (file >= 0) close(file);
  result->v_int64 = (int64_t)told.used;
  return 0;
}
