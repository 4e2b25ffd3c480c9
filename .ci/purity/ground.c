/*
 * What compiled code may call without its author asking for it, so that the proof needs no libc: six
 * memory functions, and the two names of unwinding that the standard `alloc` was compiled with and
 * that a program whose panics abort never reaches.
 */
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t bytes) {
    unsigned char *t = to;
    const unsigned char *f = from;
    while (bytes--) *t++ = *f++;
    return to;
}

void *memmove(void *to, const void *from, size_t bytes) {
    unsigned char *t = to;
    const unsigned char *f = from;
    if (t < f) return memcpy(to, from, bytes);
    while (bytes--) t[bytes] = f[bytes];
    return to;
}

void *memset(void *to, int value, size_t bytes) {
    unsigned char *t = to;
    while (bytes--) *t++ = (unsigned char)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t bytes) {
    const unsigned char *x = a, *y = b;
    for (; bytes; bytes--, x++, y++)
        if (*x != *y) return *x < *y ? -1 : 1;
    return 0;
}

int bcmp(const void *a, const void *b, size_t bytes) { return memcmp(a, b, bytes); }

size_t strlen(const char *text) {
    size_t bytes = 0;
    while (text[bytes]) bytes++;
    return bytes;
}

void _Unwind_Resume(void *exception) {
    (void)exception;
    for (;;) {
    }
}

void rust_eh_personality(void) {}
