/* What load.c and sink.c share: the clock, loopback sockets, the length of an MQTT packet, unsent bytes. */
#ifndef WIRE_H
#define WIRE_H
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECT = 1, CONNACK, PUBLISH, PUBACK, SUBSCRIBE = 8, SUBACK, PINGREQ = 12, PINGRESP, DISCONNECT };

static inline void fail(const char *what) {
    perror(what);
    exit(3);
}

static inline int64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static inline void use_all_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline void no_delay(int fd) {
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

/* Edge-triggered, both ways: one epoll_ctl in the life of a connection. */
static inline void watch(int epoll, int fd, void *owner) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = owner};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
}

/* Both ends of a socket pair use these two: >0 bytes moved, 0 would block, -1 the connection is over. */
static inline ssize_t take(int fd, void *into, size_t room) {
    ssize_t got = recv(fd, into, room, 0);
    if (got > 0)
        return got;
    return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static inline ssize_t give(int fd, const void *from, size_t count) {
    ssize_t gone = send(fd, from, count, MSG_NOSIGNAL);
    return gone >= 0 ? gone : errno == EAGAIN || errno == EINTR ? 0 : -1;
}

/* The whole length of the packet that starts at `p`, with `*body` set to the offset of its variable header.
 * 0: its fixed header is not complete yet; -1: not MQTT. */
static inline ssize_t packet_length(const uint8_t *p, size_t have, size_t *body) {
    size_t length = 0;
    for (size_t i = 1; i <= 4; i++) {
        if (i >= have)
            return 0;
        length |= (size_t)(p[i] & 0x7f) << (7 * (i - 1));
        if (p[i] < 0x80) {
            *body = i + 1;
            return (ssize_t)(i + 1 + length);
        }
    }
    return -1;
}

static inline size_t put_length(uint8_t *p, size_t length) {
    size_t i = 0;
    for (; length >= 0x80; length >>= 7)
        p[i++] = (uint8_t)(length | 0x80);
    p[i++] = (uint8_t)length;
    return i;
}

/* Bytes kept between two events: of an unfinished packet, or that the socket did not take. */
struct kept {
    uint8_t *bytes;
    size_t count, room;
};

static inline void keep(struct kept *k, const void *bytes, size_t count) {
    if (k->count + count > k->room) {
        k->room = (k->count + count) * 2;
        if (!(k->bytes = realloc(k->bytes, k->room)))
            fail("realloc");
    }
    memcpy(k->bytes + k->count, bytes, count);
    k->count += count;
}

static inline void forget(struct kept *k, size_t count) {
    k->count -= count;
    memmove(k->bytes, k->bytes + count, k->count);
}

static inline void release(struct kept *k) {
    free(k->bytes);
    *k = (struct kept){0};
}
#endif
