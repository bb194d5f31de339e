/* SPDX-License-Identifier: MIT */
/*
 * The libc entries that the shim hooks or calls past its hooks: the one table of them. Usable at
 * any time: until ff_real_init() has run (constructor), what has a system call of its own goes
 * straight to it, the rest is NULL. Constant afterwards.
 * A hook calls ff_real.name(...), never the libc symbol itself; where the entry may be NULL
 * before the constructor (fopen, opendir, ..., fork, signals), FF_REAL(name)(...).
 */
#ifndef FF_SHIM_REAL_H
#define FF_SHIM_REAL_H

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

/* A hook: the only symbols that the library exports. */
#define FF_HOOK __attribute__((visibility("default")))

typedef int (*ff_dirent_filter)(const struct dirent *);
typedef int (*ff_dirent_compar)(const struct dirent **, const struct dirent **);

/* X(return type, name, parameter list) */
#define FF_REAL_LIST(X)                                                                          \
	X(ssize_t, read, (int, void *, size_t))                                                  \
	X(ssize_t, readv, (int, const struct iovec *, int))                                      \
	X(ssize_t, pread, (int, void *, size_t, off_t))                                          \
	X(ssize_t, pread64, (int, void *, size_t, off64_t))                                      \
	X(ssize_t, preadv, (int, const struct iovec *, int, off_t))                              \
	X(ssize_t, preadv64, (int, const struct iovec *, int, off64_t))                          \
	X(ssize_t, recv, (int, void *, size_t, int))                                             \
	X(ssize_t, recvfrom, (int, void *, size_t, int, struct sockaddr *, socklen_t *))         \
	X(ssize_t, recvmsg, (int, struct msghdr *, int))                                         \
	X(int, poll, (struct pollfd *, nfds_t, int))                                             \
	X(int, epoll_wait, (int, struct epoll_event *, int, int))                                \
	X(int, epoll_pwait, (int, struct epoll_event *, int, int, const sigset_t *))             \
	X(ssize_t, __read_chk, (int, void *, size_t, size_t))                                    \
	X(ssize_t, __pread_chk, (int, void *, size_t, off_t, size_t))                            \
	X(ssize_t, __pread64_chk, (int, void *, size_t, off64_t, size_t))                        \
	X(ssize_t, __recv_chk, (int, void *, size_t, size_t, int))                               \
	X(ssize_t, __recvfrom_chk,                                                               \
	  (int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *))                    \
	X(int, __poll_chk, (struct pollfd *, nfds_t, int, size_t))                               \
	X(int, connect, (int, const struct sockaddr *, socklen_t))                               \
	X(int, accept, (int, struct sockaddr *, socklen_t *))                                    \
	X(int, accept4, (int, struct sockaddr *, socklen_t *, int))                              \
	X(int, shutdown, (int, int))                                                             \
	X(int, getsockname, (int, struct sockaddr *, socklen_t *))                               \
	X(int, getpeername, (int, struct sockaddr *, socklen_t *))                               \
	X(int, getsockopt, (int, int, int, void *, socklen_t *))                                 \
	X(int, setsockopt, (int, int, int, const void *, socklen_t))                             \
	X(ssize_t, send, (int, const void *, size_t, int))                                       \
	X(ssize_t, sendto, (int, const void *, size_t, int, const struct sockaddr *, socklen_t)) \
	X(ssize_t, sendmsg, (int, const struct msghdr *, int))                                   \
	X(int, sendmmsg, (int, struct mmsghdr *, unsigned int, int))                             \
	X(int, recvmmsg, (int, struct mmsghdr *, unsigned int, int, struct timespec *))          \
	X(ssize_t, sendfile, (int, int, off_t *, size_t))                                        \
	X(ssize_t, sendfile64, (int, int, off64_t *, size_t))                                    \
	X(ssize_t, splice, (int, off64_t *, int, off64_t *, size_t, unsigned int))               \
	X(ssize_t, preadv2, (int, const struct iovec *, int, off_t, int))                        \
	X(ssize_t, pwritev2, (int, const struct iovec *, int, off_t, int))                       \
	X(ssize_t, preadv64v2, (int, const struct iovec *, int, off64_t, int))                   \
	X(ssize_t, pwritev64v2, (int, const struct iovec *, int, off64_t, int))                  \
	X(int, ppoll, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *))      \
	X(int, __ppoll_chk,                                                                      \
	  (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *, size_t))          \
	X(int, select, (int, fd_set *, fd_set *, fd_set *, struct timeval *))                    \
	X(int, pselect,                                                                          \
	  (int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *))        \
	X(int, epoll_ctl, (int, int, int, struct epoll_event *))                                 \
	X(int, epoll_pwait2,                                                                     \
	  (int, struct epoll_event *, int, const struct timespec *, const sigset_t *))           \
	X(int, posix_spawn,                                                                      \
	  (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, \
	   char *const[], char *const[]))                                                        \
	X(int, posix_spawnp,                                                                     \
	  (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, \
	   char *const[], char *const[]))                                                        \
	X(int, system, (const char *))                                                           \
	X(FILE *, popen, (const char *, const char *))                                           \
	X(int, posix_spawn_file_actions_adddup2, (posix_spawn_file_actions_t *, int, int))       \
	X(pid_t, vfork, (void))                                                                  \
	X(long, syscall, (long, ...))                                                            \
	X(int, execve, (const char *, char *const[], char *const[]))                             \
	X(int, execv, (const char *, char *const[]))                                             \
	X(int, execvp, (const char *, char *const[]))                                            \
	X(int, execvpe, (const char *, char *const[], char *const[]))                            \
	X(int, fexecve, (int, char *const[], char *const[]))                                     \
	X(int, execveat, (int, const char *, char *const[], char *const[], int))                 \
	X(FILE *, fdopen, (int, const char *))                                                   \
	X(int, fclose, (FILE *))                                                                 \
	X(int, socketpair, (int, int, int, int *))                                               \
	X(int, pipe, (int *))                                                                    \
	X(int, pipe2, (int *, int))                                                              \
	X(int, eventfd, (unsigned int, int))                                                     \
	X(int, epoll_create, (int))                                                              \
	X(int, epoll_create1, (int))                                                             \
	X(int, timerfd_create, (clockid_t, int))                                                 \
	X(int, memfd_create, (const char *, unsigned int))                                       \
	X(ssize_t, write, (int, const void *, size_t))                                           \
	X(ssize_t, writev, (int, const struct iovec *, int))                                     \
	X(int, close, (int))                                                                     \
	X(int, close_range, (unsigned int, unsigned int, int))                                   \
	X(int, dup, (int))                                                                       \
	X(int, dup2, (int, int))                                                                 \
	X(int, dup3, (int, int, int))                                                            \
	X(int, fcntl, (int, int, ...))                                                           \
	X(int, socket, (int, int, int))                                                          \
	X(int, ioctl, (int, unsigned long, ...))                                                 \
	X(int, open, (const char *, int, ...))                                                   \
	X(int, openat, (int, const char *, int, ...))                                            \
	X(int, stat, (const char *, struct stat *))                                              \
	X(int, lstat, (const char *, struct stat *))                                             \
	X(int, fstat, (int, struct stat *))                                                      \
	X(int, fstatat, (int, const char *, struct stat *, int))                                 \
	X(int, statx, (int, const char *, int, unsigned int, struct statx *))                    \
	X(int, access, (const char *, int))                                                      \
	X(int, faccessat, (int, const char *, int, int))                                         \
	X(ssize_t, readlink, (const char *, char *, size_t))                                     \
	X(ssize_t, readlinkat, (int, const char *, char *, size_t))                              \
	X(FILE *, fopen, (const char *, const char *))                                           \
	X(DIR *, opendir, (const char *))                                                        \
	X(int, scandir, (const char *, struct dirent ***, ff_dirent_filter, ff_dirent_compar))   \
	X(char *, realpath, (const char *, char *))                                              \
	X(void *, mmap, (void *, size_t, int, int, int, off_t))                                  \
	X(int, munmap, (void *, size_t))                                                         \
	X(void *, mremap, (void *, size_t, size_t, int, ...))                                    \
	X(int, madvise, (void *, size_t, int))                                                   \
	X(pid_t, fork, (void))                                                                   \
	X(pid_t, _Fork, (void))                                                                  \
	X(int, clone, (int (*)(void *), void *, int, void *, ...))                               \
	X(int, sigaction, (int, const struct sigaction *, struct sigaction *))                   \
	X(int, sigprocmask, (int, const sigset_t *, sigset_t *))                                 \
	X(int, pthread_sigmask, (int, const sigset_t *, sigset_t *))

struct ff_real {
#define X(ret, name, params) ret(*name) params;
	FF_REAL_LIST(X)
#undef X
};

extern struct ff_real ff_real;
/* Idempotent, any thread; does nothing when dlsym() itself came back here. */
void ff_real_init(void);

/*
 * Set once events of a device are read in this process: sees every read() (n: what libc's said) and
 * decides what it says. In this file because it connects modules that do without each other.
 */
extern ssize_t (*_Atomic ff_read_filter)(int fd, void *buf, size_t len, ssize_t n);

/* Signals whose handlers were installed without SA_RESTART, as bits: blocking calls end with EINTR.
 */
extern _Atomic uint64_t ff_signal_interrupts;

/*
 * Set once there is a stream in this process (stream.h). Here for the same reason as the filter.
 * enter: a receiving call with these MSG_ flags begins. NULL, or what leave() wants, or:
 */
enum ff_io_use { FF_IO_RECV, FF_IO_SEND, FF_IO_OTHER };
#define FF_IO_INTERRUPTED ((void *)-1) /* these two: recv() does it all, or says EINTR */
#define FF_IO_EMULATED	  ((void *)-2)
/* No MSG_: it is read(), readv() or writev(), where no bytes mean that nothing is done. */
#define FF_IO_FILE	  (1 << 28)
struct ff_io_gate {
	void *(*enter)(int fd, int flags);
	void (*leave)(void *inside, int64_t moved);
	ssize_t (*recv)(void *why, int fd, const struct iovec *iov, size_t count, int flags);
	bool (*poll_wanted)(struct pollfd *fds, nfds_t n); /* changes nothing */
	int (*poll)(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
		    const sigset_t *mask);
	int (*epoll_filter)(int epfd, struct epoll_event *events, int n);
	void (*received)(const struct msghdr *m); /* with descriptors, perhaps */
	void (*forked)(void);			  /* is about to be, without atfork handlers */
};
extern const struct ff_io_gate *_Atomic ff_io_gate;

#define FF_REAL(name) \
	(__builtin_expect(ff_real.name != NULL, 1) ? ff_real.name : (ff_real_init(), ff_real.name))

#endif
