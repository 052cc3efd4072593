/* The native worker: it answers the requests of docs/worker-protocol.md with ONNX Runtime.
 *
 *   nasc-runner LIBRARY [PARENT]
 *
 * LIBRARY is ONNX Runtime's shared library, PARENT the process that started this one: it dies with
 * that. Without PARENT it ends with its stdin, whatever it runs then. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "limits.h"
#include "lines.h"
#include "worker.h"

enum { EXIT_USAGE = 2 };

/* A private copy of stdout; whatever a library prints goes to stderr instead. */
static int take_stdout(void) {
  int answers = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (answers >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    return -1;
  }
  return answers;
}

static bool write_all(int file, const char *data, size_t size) {
  while (size > 0) {
    ssize_t done = write(file, data, size);
    if (done < 0 && errno != EINTR) {
      return false;
    }
    if (done > 0) {
      data += done;
      size -= (size_t)done;
    }
  }
  return true;
}

static bool is_blank(const char *line, size_t size) {
  return text_strip((struct text){line, size}).size == 0;
}

/* Answers requests until "quit", the end of stdin, or that of whoever reads the answers. */
static int serve(struct worker *worker, int answers) {
  struct lines lines = {.file = STDIN_FILENO};
  struct buffer answer = {0};
  bool leave = false;
  int status = EXIT_SUCCESS;
  while (!leave) {
    char *line = NULL;
    size_t size = 0;
    enum line_status read = lines_next(&lines, &line, &size);
    if (read == LINES_END) {
      break;
    }
    if (read == LINE_READ && is_blank(line, size)) {
      continue;
    }
    if (read == LINE_READ) {
      leave = worker_answer(worker, line, size, &answer);
    } else if (read == LINE_TOO_LONG) {
      worker_refuse(KIND_REQUEST, "a request must be a line of at most 1 GiB", &answer);
    } else {
      worker_refuse(KIND_MEMORY, "a request needs more memory than the worker may have", &answer);
    }
    /* Where there was no memory even for the words of a failure, nothing can be said. */
    if (answer.failed || !write_all(answers, answer.data, answer.size)) {
      status = EXIT_FAILURE;
      break;
    }
  }
  buffer_free(&answer);
  lines_free(&lines);
  return status;
}

static bool read_parent(const char *text, pid_t *parent) {
  char *end = NULL;
  errno = 0;
  long number = strtol(text, &end, 10);
  *parent = (pid_t)number;
  return errno == 0 && end != text && *end == '\0' && number > 0 && number == (long)*parent;
}

int main(int argc, char **argv) {
  pid_t parent = 0;
  if (argc < 2 || argc > 3 || (argc == 3 && !read_parent(argv[2], &parent))) {
    (void)fprintf(stderr, "usage: nasc-runner LIBRARY [PARENT]\n");
    return EXIT_USAGE;
  }
  (void)signal(SIGPIPE, SIG_IGN);
  allow_alarms();
  if (parent > 0) {
    die_with_parent(parent);
  } else {
    die_with_stdin();
  }
  int answers = take_stdout();
  if (answers < 0) {
    perror("nasc-runner: stdout");
    return EXIT_FAILURE;
  }
  struct worker worker = {.library = argv[1], .limits = DEFAULT_LIMITS};
  int status = serve(&worker, answers);
  worker_free(&worker);
  return status;
}
