#include "limits.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "machine.h"

/* Share of the machine's memory that a worker may fill where nobody says less, in percent: that
 * of profilers/worker.py. */
enum { MEMORY_PERCENT = 80 };

enum { WATCHER_STACK_BYTES = 1 << 16 };

void limit_time(double seconds) {
  double whole = floor(seconds);
  struct itimerval timer = {{0, 0}, {0, 0}};
  timer.it_value.tv_sec = (time_t)whole;
  timer.it_value.tv_usec = (suseconds_t)ceil((seconds - whole) * 1e6); /* never 0 by rounding */
  if (timer.it_value.tv_usec >= 1000000) {
    timer.it_value.tv_usec = 999999;
  }
  (void)setitimer(ITIMER_REAL, &timer, NULL);
}

void allow_alarms(void) {
  sigset_t alarms;
  (void)signal(SIGALRM, SIG_DFL);
  (void)sigemptyset(&alarms);
  (void)sigaddset(&alarms, SIGALRM);
  (void)pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
}

void limit_memory(int64_t bytes) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_CORE, &limit) == 0) {
    limit.rlim_cur = 0;
    (void)setrlimit(RLIMIT_CORE, &limit);
  }
  if (bytes <= 0) {
    bytes = available_memory_bytes() / 100 * MEMORY_PERCENT;
  }
  /* RLIMIT_AS would count what is only reserved: threads and arenas reserve gigabytes. */
  if (bytes > 0 && getrlimit(RLIMIT_DATA, &limit) == 0) {
    limit.rlim_cur = (rlim_t)bytes;
    if (limit.rlim_max != RLIM_INFINITY && limit.rlim_cur > limit.rlim_max) {
      limit.rlim_cur = limit.rlim_max;
    }
    (void)setrlimit(RLIMIT_DATA, &limit);
  }
}

static void *watch_stdin(void *unused) {
  (void)unused;
  struct pollfd end = {.fd = STDIN_FILENO, .events = 0}; /* nothing but its end, always told */
  while (poll(&end, 1, -1) <= 0) {
  }
  _exit(0);
}

void die_with_stdin(void) {
  pthread_attr_t attributes;
  pthread_t thread;
  if (pthread_attr_init(&attributes) != 0) {
    return;
  }
  (void)pthread_attr_setstacksize(&attributes, WATCHER_STACK_BYTES);
  (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  (void)pthread_create(&thread, &attributes, watch_stdin, NULL);
  (void)pthread_attr_destroy(&attributes);
}

void die_with_parent(pid_t parent) {
  if (prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0ul, 0ul, 0ul) != 0) {
    die_with_stdin();
  } else if (getppid() != parent) { /* it ended before the system was asked */
    _exit(1);
  }
}
