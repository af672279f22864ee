/* sink: the cheapest target that a gateway can be given. MQTT 3.1.1 and 5 over TCP, on one thread.
 *
 * It answers CONNECT, SUBSCRIBE, PINGREQ and QoS 1, counts every PUBLISH, and copies the bytes of a PUBLISH to all
 * connections that have subscribed to anything. Nothing is matched, stored or timed.
 *
 * It prints the port that it listens on, then one line of counters for each line on standard input, and ends with it.
 */
#include "wire.h"

struct connection {
    int fd, version, subscribed, leaving;
    size_t skip;          /* bytes of a QoS 0 PUBLISH that are still to come and that nobody wants */
    struct kept unparsed, unsent;
    struct connection *next_closed;
};

static struct { unsigned long accepted, open, connects, publishes, bytes, delivered, malformed; } counters;
static struct connection **subscribers, *closed;
static size_t subscriber_count;
static int epoll;
static uint8_t scratch[1 << 18];
static uint8_t answers[1 << 18]; /* no packet is answered by a longer one, so what one read asks for fits */
static size_t answered;

static void report(void) {
    printf("{\"accepted\": %lu, \"open\": %lu, \"connects\": %lu, \"publishes\": %lu, \"bytes\": %lu, "
           "\"delivered\": %lu, \"malformed\": %lu}\n",
           counters.accepted, counters.open, counters.connects, counters.publishes, counters.bytes,
           counters.delivered, counters.malformed);
    fflush(stdout);
}

/* The connection is freed when the events of this wake-up are done: one of them may still name it. */
static void hang_up(struct connection *c) {
    if (c->fd < 0)
        return;
    close(c->fd);
    c->fd = -1;
    counters.open--;
    for (size_t i = 0; c->subscribed && i < subscriber_count; i++)
        if (subscribers[i] == c)
            subscribers[i] = subscribers[--subscriber_count];
    c->next_closed = closed;
    closed = c;
}

static void send_to(struct connection *c, const uint8_t *bytes, size_t count) {
    ssize_t gone = 0;
    if (c->fd < 0)
        return;
    if (!c->unsent.count && (gone = give(c->fd, bytes, count)) < 0)
        hang_up(c);
    else if ((size_t)gone < count)
        keep(&c->unsent, bytes + gone, count - gone);
}

static void send_unsent(struct connection *c) {
    while (c->unsent.count) {
        ssize_t gone = give(c->fd, c->unsent.bytes, c->unsent.count);
        if (gone < 0)
            hang_up(c);
        if (gone <= 0)
            return;
        forget(&c->unsent, gone);
    }
}

static void deliver(const uint8_t *publishes, size_t count, unsigned long messages) {
    for (size_t i = subscriber_count; i-- > 0;)
        send_to(subscribers[i], publishes, count);
    counters.delivered += messages * subscriber_count;
}

static void answer(const void *packet, size_t count) {
    memcpy(answers + answered, packet, count);
    answered += count;
}

static int connects(struct connection *c, const uint8_t *body, size_t length) {
    if (c->version || length < 10 || memcmp(body, "\0\4MQTT", 6) || (body[6] != 4 && body[6] != 5))
        return -1;
    c->version = body[6];
    counters.connects++;
    if (c->version == 5)
        answer("\x20\x03\0\0\0", 5);
    else
        answer("\x20\x02\0\0", 4);
    return 0;
}

static int subscribes(struct connection *c, const uint8_t *body, size_t length) {
    size_t at = c->version == 5 ? 3 + (length > 2 ? body[2] : 0) : 2;
    uint8_t reply[128] = {SUBACK << 4, 0, body[0], body[1]};
    size_t count = c->version == 5 ? 5 : 4;
    for (; at + 3 <= length && count < sizeof reply; count++)
        at += 3 + (body[at] << 8 | body[at + 1]);
    if (at != length)
        return -1;
    reply[1] = (uint8_t)(count - 2);
    answer(reply, count);
    if (!c->subscribed) {
        c->subscribed = 1;
        if (!(subscribers = realloc(subscribers, (subscriber_count + 1) * sizeof *subscribers)))
            fail("realloc");
        subscribers[subscriber_count++] = c;
    }
    return 0;
}

static int is_publish(const uint8_t *p) {
    return p[0] >> 4 == PUBLISH;
}

/* Everything but a QoS 0 PUBLISH. -1: malformed, or more than this sink understands. */
static int obey(struct connection *c, const uint8_t *p, const uint8_t *body, size_t length) {
    if (!c->version && p[0] >> 4 != CONNECT)
        return -1;
    switch (p[0] >> 4) {
    case CONNECT:
        return connects(c, body, length);
    case PUBLISH: { /* QoS 1 */
        size_t id = length >= 2 ? 2 + (size_t)(body[0] << 8 | body[1]) : length;
        if ((p[0] & 6) != 2 || id + 2 > length)
            return -1;
        answer((uint8_t[]){PUBACK << 4, 2, body[id], body[id + 1]}, 4);
        return 0;
    }
    case SUBSCRIBE:
        return length < 5 ? -1 : subscribes(c, body, length);
    case PINGREQ:
        answer("\xd0\0", 2);
        return 0;
    case DISCONNECT:
        c->leaving = 1;
        return 0;
    default:
        return -1;
    }
}

/* Parse what is there; returns how many bytes were used, or -1. */
static ssize_t parse(struct connection *c, const uint8_t *data, size_t count) {
    size_t at = 0, body, run = 0; /* run: where the unbroken row of PUBLISH packets up to `at` starts */
    unsigned long messages = 0;
    while (at < count && !c->leaving) {
        const uint8_t *p = data + at;
        ssize_t length = packet_length(p, count - at, &body);
        if (length < 0)
            return -1;
        if (!length || (size_t)length > count - at) {
            if (!length || (p[0] & 0xf6) != PUBLISH << 4 || !c->version || subscriber_count)
                break;
            c->skip = length - (count - at); /* counted now: a broken connection shows as a lost PINGRESP */
            length = count - at;
        }
        if (!is_publish(p) && messages) {
            deliver(data + run, at - run, messages);
            messages = 0;
        }
        if (is_publish(p)) {
            if (!messages++)
                run = at;
            counters.publishes++;
            counters.bytes += length + c->skip;
        }
        if (((p[0] & 0xf6) != PUBLISH << 4 || !c->version) && obey(c, p, p + body, length - body))
            return -1;
        at += length;
    }
    if (messages)
        deliver(data + run, at - run, messages);
    return at;
}

static void readable(struct connection *c, uint32_t events) {
    while (c->fd >= 0 && !c->leaving) {
        size_t before = c->unparsed.count, room = sizeof scratch - before;
        memcpy(scratch, c->unparsed.bytes, before);
        ssize_t got = take(c->fd, scratch + before, room);
        if (got < 0)
            hang_up(c);
        if (got <= 0)
            return;
        size_t count = before + got, start = c->skip < count ? c->skip : count;
        c->skip -= start;
        answered = 0;
        ssize_t used = parse(c, scratch + start, count - start);
        if (used < 0 || count - start - used == sizeof scratch) {
            counters.malformed++;
            hang_up(c);
            return;
        }
        c->unparsed.count = 0;
        keep(&c->unparsed, scratch + start + used, count - start - used);
        if (answered)
            send_to(c, answers, answered);
        if ((size_t)got < room && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
            break;
    }
    if (c->leaving)
        hang_up(c);
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            fail("calloc");
        c->fd = fd;
        no_delay(fd);
        counters.accepted++;
        counters.open++;
        watch(epoll, fd, c);
    }
}

int main(void) {
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event events[256], event = {.events = EPOLLIN, .data.ptr = &listener};
    char line[64];

    use_all_descriptors();
    if (bind(listener, (void *)&address, size) || listen(listener, 4096) ||
        getsockname(listener, (void *)&address, &size))
        fail("listen");
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
        fail("epoll");
    event.data.ptr = line;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event))
        fail("standard input must be a pipe");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].data.ptr == &listener) {
                accept_all(listener);
            } else if (events[i].data.ptr == line) {
                if (read(STDIN_FILENO, line, sizeof line) <= 0)
                    return 0;
                report();
            } else if (c->fd >= 0) {
                if (events[i].events & EPOLLOUT)
                    send_unsent(c);
                if (events[i].events & ~(uint32_t)EPOLLOUT)
                    readable(c, events[i].events);
            }
        }
        while (closed) {
            struct connection *c = closed;
            closed = c->next_closed;
            release(&c->unparsed);
            release(&c->unsent);
            free(c);
        }
    }
}
