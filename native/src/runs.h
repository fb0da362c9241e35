/* Ranges of equal length at equal distances of a file, read into or written from bytes that lie together: rows of a
   matrix that is stored by columns are that, some hundred bytes each, and a million of them in a model. */
#ifndef HUB_RUNS_H
#define HUB_RUNS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

/* How many of `count` runs of `length` bytes were read whole, run i from byte offset + i * stride. Fewer where the file
   ends, or reading fails or is cut short; the caller goes on from there and learns why. */
static size_t runs_read(int fd, unsigned char *out, size_t length, size_t count, int64_t offset, int64_t stride) {
  size_t i = 0;
  while (i < count && pread(fd, out + i * length, length, (off_t)(offset + (int64_t)i * stride)) == (ssize_t)length) i++;
  return i;
}

/* The same for writing. */
static size_t runs_write(int fd, const unsigned char *data, size_t length, size_t count, int64_t offset, int64_t stride) {
  size_t i = 0;
  while (i < count && pwrite(fd, data + i * length, length, (off_t)(offset + (int64_t)i * stride)) == (ssize_t)length) i++;
  return i;
}

#endif
