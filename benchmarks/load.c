/* load: the devices. One thread, edge-triggered epoll, everything that is sent is laid out before the clock starts.
 *
 *     load -m MODE -p PORT [-d PORT] [-c N] [-v 4|5] [-q 0|1] [-s BYTES] [-w N] [-r RATE] [-t SECONDS]
 *          [-T 1.2|1.3 [-C FILE]]
 *
 * publish  -c connections publish -s bytes at QoS -q. Without -r as fast as the window -w (messages in flight of one
 *          connection) lets them; with -r so many messages a second in all, one after another in turn, one write each.
 * fan      -c subscribers; one publisher, connected straight to the target at -d, with -w messages in flight.
 * churn    CONNECT, CONNACK, DISCONNECT, end of the connection, and again; -c at a time.
 * idle     -c connections that say nothing.
 *
 * -T has devices speak TLS, in this version and with a full handshake each; -C names their certificate with its chain
 * in PEM, whose key is in FILE.key. Only load-tls knows these: the same source, linked with OpenSSL.
 *
 * When all connections stand it prints READY and waits for a line; then it runs for -t seconds, waits for what is
 * under way, prints the result as one line of JSON and waits for another line.
 *
 * What counts: a QoS 1 message when its PUBACK came, in the order in which they were sent; a QoS 0 message when the
 * PINGRESP to a PINGREQ behind it came; a delivery when it came to the subscriber, whole and in order; a connection
 * when the far end closed it after DISCONNECT. Everything else that happens is an error.
 */
#include "tls.h"
#include "wire.h"
#include <getopt.h>
#include <sys/prctl.h>

enum mode { MODE_PUBLISH, MODE_FAN, MODE_CHURN, MODE_IDLE };
enum state { CLOSED, DIALLING, SHAKING, INTRODUCED, SUBSCRIBING, UP, LEAVING };
enum { LAPS = 4, SETTLE_SECONDS = 15 };

static const char topic[] = "bench/devices/temperature";

static struct {
    enum mode mode;
    int port, target_port, connections, version, qos;
    size_t size, window;
    double rate, seconds;
    const char *tls, *certificate;
} option = {.connections = 1, .version = 4, .size = 64, .window = 100, .seconds = 1.0};

struct connection {
    int fd;
    SSL *tls;               /* NULL: plain */
    enum state state;
    struct kept unparsed, unsent;
    size_t at;              /* position in the lap: bytes of it that were sent */
    uint64_t acked, sent;   /* QoS 1 messages; with -m fan: deliveries seen */
    size_t due;             /* -r: messages whose instant has come */
    unsigned pings;         /* PINGREQ without a PINGRESP */
    int tail, settled;      /* tail: a last PINGREQ behind an unfinished lap was sent */
    int64_t dialled, *stamps;
};

/* A lap is what every publisher sends again and again: as many messages as the window (QoS 1) or a quarter of it and
 * a PINGREQ (QoS 0). QoS 1 messages carry the packet ids 1, 2, 3 ... so one lap serves all connections. */
static uint8_t *lap;
static size_t lap_messages, message_length, lap_length;

static struct connection *devices, publisher = {.fd = -1};
static int epoll, up, settled, running, stopping;
static uint64_t messages, errors, late;
static uint8_t scratch[1 << 18];

/* ---- Latency: a histogram of 32 steps to the octave, so a figure is right to 3 %. ---- */

static uint64_t histogram[64 * 32], samples;

static void sample(int64_t ns) {
    uint64_t v = ns < 32 ? 32 : (uint64_t)ns;
    int octave = 63 - __builtin_clzll(v);
    histogram[octave * 32 + (v >> (octave - 5) & 31)]++;
    samples++;
}

static double quantile_us(double q) {
    uint64_t seen = 0, wanted = (uint64_t)(q * (double)samples);
    for (int i = 0; i < 64 * 32; i++)
        if ((seen += histogram[i]) > wanted)
            return (double)((UINT64_C(32) + (i & 31)) << (i / 32)) / 32e3;
    return 0;
}

/* ---- Packets ---- */

static size_t put_publish(uint8_t *p, uint16_t id) {
    size_t name = sizeof topic - 1, at = 1;
    p[0] = (uint8_t)(PUBLISH << 4 | option.qos << 1);
    at += put_length(p + at, 2 + name + (option.qos ? 2 : 0) + (option.version == 5) + option.size);
    p[at++] = 0;
    p[at++] = (uint8_t)name;
    memcpy(p + at, topic, name);
    at += name;
    if (option.qos) {
        p[at++] = (uint8_t)(id >> 8);
        p[at++] = (uint8_t)id;
    }
    if (option.version == 5)
        p[at++] = 0;
    memset(p + at, 'x', option.size);
    return at + option.size;
}

static void lay_lap(void) {
    int by_laps = option.mode == MODE_PUBLISH && !option.qos;
    lap_messages = by_laps ? (option.window + LAPS - 1) / LAPS : option.window;
    if (!(lap = malloc(lap_messages * (option.size + 64) + 2)))
        fail("malloc");
    for (size_t i = 0; i < lap_messages; i++)
        lap_length += message_length = put_publish(lap + lap_length, (uint16_t)(i + 1));
    if (by_laps) {
        memcpy(lap + lap_length, "\xc0\0", 2);
        lap_length += 2;
    }
}

/* ---- Bytes, through TLS where there is TLS ---- */

static ssize_t pull(struct connection *c, void *into, size_t room) {
    return c->tls ? tls_take(c->tls, into, room) : take(c->fd, into, room);
}

static ssize_t push(struct connection *c, const void *from, size_t count) {
    return c->tls ? tls_give(c->tls, from, count) : give(c->fd, from, count);
}

/* As push, for who may not offer the same bytes again. TLS has to be offered what it could not send: that is kept. */
static ssize_t push_once(struct connection *c, const void *from, size_t count) {
    enum { RECORD = 16384 };
    ssize_t gone = c->unsent.count ? 0 : push(c, from, count);
    if (gone || !c->tls || c->unsent.count)
        return gone;
    keep(&c->unsent, from, count < RECORD ? count : RECORD);
    return (ssize_t)c->unsent.count;
}

/* ---- The life of a connection ---- */

static void settle(struct connection *c) {
    if (!c->settled++)
        settled++;
}

static void dial(struct connection *c);

static void lose(struct connection *c, int expected) {
    int counted = c->state == LEAVING && expected;
    if (c->fd < 0)
        return;
    if (c->tls)
        tls_end(c->tls, counted);
    c->tls = NULL;
    close(c->fd);
    c->fd = -1;
    c->unparsed.count = c->unsent.count = 0;
    c->state = CLOSED;
    if (counted) {
        messages++;
        sample(clock_ns() - c->dialled);
    } else {
        errors++;
    }
    if (option.mode == MODE_CHURN && running && !stopping)
        dial(c);
    else
        settle(c);
}

static void dial(struct connection *c) {
    struct sockaddr_in address = loopback(c == &publisher ? option.target_port : option.port);
    c->dialled = clock_ns();
    c->state = DIALLING;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket");
    no_delay(c->fd);
    if (connect(c->fd, (void *)&address, sizeof address) && errno != EINPROGRESS)
        fail("connect");
    watch(epoll, c->fd, c);
}

static void send_now(struct connection *c, const void *bytes, size_t count) {
    ssize_t gone = c->unsent.count ? 0 : push(c, bytes, count);
    if (gone < 0)
        lose(c, 0);
    else if ((size_t)gone < count)
        keep(&c->unsent, (const uint8_t *)bytes + gone, count - gone);
}

static void introduce(struct connection *c) {
    uint8_t p[64] = {CONNECT << 4, 0, 0, 4, 'M', 'Q', 'T', 'T', (uint8_t)option.version, 2, 0x0e, 0x10};
    size_t at = 12 + (option.version == 5); /* clean start, keep alive 3600 s, no properties */
    int name = snprintf((char *)p + at + 2, sizeof p - at - 2, "bench-%d", c == &publisher ? -1 : (int)(c - devices));
    p[at + 1] = (uint8_t)name;
    p[1] = (uint8_t)(at + (size_t)name);
    c->state = INTRODUCED;
    send_now(c, p, at + 2 + (size_t)name);
}

static void shake(struct connection *c) {
    ssize_t done = tls_shake(c->tls);
    if (done < 0)
        lose(c, 0);
    else if (done)
        introduce(c);
}

static void connected(struct connection *c) {
    if (!option.tls || c == &publisher) {
        introduce(c);
        return;
    }
    c->tls = tls_start(c->fd);
    c->state = SHAKING;
}

static void accepted(struct connection *c) {
    uint8_t p[64] = {SUBSCRIBE << 4 | 2, 0, 0, 1};
    size_t at = 4 + (option.version == 5), name = sizeof topic - 1;
    if (option.mode == MODE_CHURN) {
        c->state = LEAVING;
        send_now(c, "\xe0\0", 2);
    } else if (option.mode == MODE_FAN && c != &publisher) {
        p[at + 1] = (uint8_t)name;
        memcpy(p + at + 2, topic, name);
        p[1] = (uint8_t)(at + 2 + name + 1 - 2);
        c->state = SUBSCRIBING;
        send_now(c, p, at + 2 + name + 1);
    } else {
        c->state = UP;
        up++;
    }
}

/* ---- Sending ---- */

/* How many messages behind the one that `at` stands in may be sent now. */
static size_t allowed(struct connection *c, size_t index) {
    size_t room = lap_messages - index;
    if (option.qos && room > option.window - (c->sent - c->acked))
        room = option.window - (c->sent - c->acked);
    if (option.rate > 0 && room > c->due)
        room = c->due;
    return stopping || (!option.qos && c->pings >= LAPS) ? 0 : room;
}

static void publish(struct connection *c) {
    while (c->fd >= 0) {
        size_t index = c->at / message_length, goal = 0, begun = index < lap_messages && c->at % message_length != 0;
        if (index < lap_messages)
            goal = index + (begun && allowed(c, index) == 0 ? 1 : allowed(c, index));
        size_t until = goal == lap_messages || index >= lap_messages ? lap_length : goal * message_length;
        if (until <= c->at)
            break;
        int64_t now = option.qos && !option.rate ? clock_ns() : 0;
        ssize_t gone = push_once(c, lap + c->at, until - c->at);
        if (gone < 0)
            lose(c, 0);
        if (gone <= 0)
            return;
        c->at += gone;
        size_t reached = c->at / message_length < lap_messages ? c->at / message_length : lap_messages;
        for (size_t i = index; i < reached && now; i++)
            c->stamps[i] = now;
        if (option.rate > 0)
            c->due -= reached - index < c->due ? reached - index : c->due;
        c->sent += reached - index;
        if (c->at == lap_length) {
            c->at = 0;
            c->pings += !option.qos;
        }
    }
    if (!stopping || c->fd < 0)
        return;
    if (!option.qos && c->at && !c->tail && c->at % message_length == 0) {
        c->tail = 1;
        c->pings++;
        send_now(c, "\xc0\0", 2);
    } else if (option.qos ? c->acked == c->sent : !c->pings) {
        settle(c);
    }
}

static uint64_t fan_sent, fan_complete;
static size_t *fan_seen; /* how many subscribers have had message i of the window */

static void publish_fan(void) {
    while (!stopping && fan_sent - fan_complete < option.window && publisher.fd >= 0) {
        size_t slot = fan_sent % option.window;
        int64_t head[2] = {(int64_t)fan_sent, clock_ns()};
        memcpy(lap + (slot + 1) * message_length - option.size, head, sizeof head);
        fan_seen[slot] = 0;
        fan_sent++;
        send_now(&publisher, lap + slot * message_length, message_length);
    }
    if (stopping && fan_sent == fan_complete)
        settled = option.connections;
}

/* ---- Receiving; each returns -1 where the packet should not have come. ---- */

static int delivered(struct connection *c, const uint8_t *p, size_t length, int64_t now) {
    int64_t head[2];
    if (option.mode != MODE_FAN || length != message_length)
        return -1;
    memcpy(head, p + length - option.size, sizeof head);
    if ((uint64_t)head[0] != c->acked++)
        return -1;
    sample(now - head[1]);
    messages++;
    if (++fan_seen[head[0] % option.window] == (size_t)option.connections)
        fan_complete++;
    return 0;
}

static int obey(struct connection *c, const uint8_t *p, size_t length, size_t body, int64_t now) {
    switch (p[0] >> 4) {
    case CONNACK:
        if (c->state != INTRODUCED || length < body + 2 || p[body + 1])
            return -1;
        accepted(c);
        return 0;
    case SUBACK:
        if (c->state != SUBSCRIBING || p[length - 1] >= 0x80)
            return -1;
        c->state = UP;
        up++;
        return 0;
    case PUBLISH:
        return delivered(c, p, length, now);
    case PUBACK:
        if (!option.qos || length < body + 2 || c->acked == c->sent ||
            (size_t)(p[body] << 8 | p[body + 1]) != c->acked % lap_messages + 1 ||
            (length > body + 2 && p[body + 2] >= 0x80))
            return -1;
        sample(now - c->stamps[c->acked++ % lap_messages]);
        messages++;
        return 0;
    case PINGRESP:
        if (!c->pings)
            return -1;
        messages += c->tail && c->pings == 1 ? c->at / message_length : lap_messages;
        c->pings--;
        return 0;
    default:
        return -1;
    }
}

static void readable(struct connection *c, uint32_t events) {
    while (c->fd >= 0) {
        size_t before = c->unparsed.count, room = sizeof scratch - before, at = 0, body;
        memcpy(scratch, c->unparsed.bytes, before);
        ssize_t got = pull(c, scratch + before, room);
        if (got < 0)
            lose(c, c->state == LEAVING);
        if (got <= 0)
            return;
        size_t count = before + got;
        int64_t now = clock_ns();
        while (at < count) {
            ssize_t length = packet_length(scratch + at, count - at, &body);
            if (length < 0 || (length && (size_t)length <= count - at && obey(c, scratch + at, length, body, now))) {
                lose(c, 0);
                return;
            }
            if (!length || (size_t)length > count - at)
                break;
            at += length;
        }
        c->unparsed.count = 0;
        keep(&c->unparsed, scratch + at, count - at);
        if ((size_t)got < room && !c->tls && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
            return;
    }
}

static void wake_up(struct connection *c, uint32_t events) {
    if (c->state == DIALLING && events & EPOLLOUT && !(events & (EPOLLERR | EPOLLHUP)))
        connected(c);
    if (c->state == SHAKING)
        shake(c);
    if (c->state != SHAKING && events & ~(uint32_t)EPOLLOUT)
        readable(c, events);
    while (c->fd >= 0 && events & EPOLLOUT && c->unsent.count) {
        ssize_t gone = push(c, c->unsent.bytes, c->unsent.count);
        if (gone < 0)
            lose(c, 0);
        if (gone <= 0)
            return;
        forget(&c->unsent, gone);
    }
    if (running && option.mode == MODE_PUBLISH)
        publish(c);
    else if (running && option.mode == MODE_FAN)
        publish_fan();
}

static void wait_events(int64_t ns) {
    struct epoll_event events[256];
    struct timespec patience = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    int count = epoll_pwait2(epoll, events, 256, ns > 0 ? &patience : &(struct timespec){0}, NULL);
    for (int i = 0; i < count; i++)
        if (((struct connection *)events[i].data.ptr)->fd >= 0)
            wake_up(events[i].data.ptr, events[i].events);
}

/* ---- The run ---- */

static void set_up(void) {
    int dialled = 0, wanted = option.connections + (option.mode == MODE_FAN);
    int64_t patience = clock_ns() + INT64_C(60000000000);
    if (option.mode == MODE_CHURN)
        return;
    if (option.mode == MODE_FAN)
        dial(&publisher);
    while (up < wanted && !errors && clock_ns() < patience) {
        while (dialled < option.connections && dialled - up < 64)
            dial(&devices[dialled++]);
        wait_events(50000000);
    }
    if (up < wanted) {
        printf("{\"failed\": \"%d of %d connections stand, %lu were refused or lost\"}\n", up, wanted, errors);
        exit(1);
    }
}

/* Every message whose instant has come, in turn over the connections. Returns the next instant. */
static int64_t pace(int64_t next, int64_t now) {
    static int turn;
    for (; next <= now; next += (int64_t)(1e9 / option.rate)) {
        struct connection *c = &devices[turn++ % option.connections];
        size_t held = option.qos ? c->sent - c->acked + c->due : c->due;
        if (c->fd < 0 || held >= lap_messages || c->pings >= LAPS) {
            late++; /* not sent at all: the gateway does not keep up with the rate */
            continue;
        }
        if (option.qos)
            c->stamps[(c->sent + c->due) % lap_messages] = next;
        c->due++;
        publish(c);
    }
    return next;
}

static double run(void) {
    int64_t start = clock_ns(), end = start + (int64_t)(option.seconds * 1e9), next = start, now = start;
    running = 1;
    for (int i = 0; i < option.connections; i++)
        if (option.mode == MODE_CHURN)
            dial(&devices[i]);
        else if (option.mode == MODE_PUBLISH && !option.rate)
            publish(&devices[i]);
    if (option.mode == MODE_FAN)
        publish_fan();
    while (settled < option.connections) {
        now = clock_ns();
        if (!stopping && now >= end) {
            stopping = 1;
            for (int i = 0; i < option.connections && option.mode == MODE_PUBLISH; i++)
                publish(&devices[i]);
            if (option.mode == MODE_FAN)
                publish_fan();
            continue;
        }
        if (now > end + SETTLE_SECONDS * INT64_C(1000000000)) {
            errors += option.connections - settled;
            break;
        }
        if (option.rate > 0 && !stopping) {
            next = pace(next, now);
            now = clock_ns();
            wait_events(next < end ? next - now : end - now);
        } else {
            wait_events(stopping ? 1000000 : end - now);
        }
    }
    return (double)(clock_ns() - start) / 1e9;
}

static void read_options(int count, char **words) {
    static const char *modes[] = {"publish", "fan", "churn", "idle"};
    int letter, mode = -1;
    while ((letter = getopt(count, words, "m:p:d:c:v:q:s:w:r:t:T:C:")) != -1)
        switch (letter) {
        case 'm':
            for (int i = 0; i < 4; i++)
                if (!strcmp(modes[i], optarg))
                    mode = i;
            break;
        case 'p': option.port = atoi(optarg); break;
        case 'd': option.target_port = atoi(optarg); break;
        case 'c': option.connections = atoi(optarg); break;
        case 'v': option.version = atoi(optarg); break;
        case 'q': option.qos = atoi(optarg); break;
        case 's': option.size = strtoul(optarg, NULL, 10); break;
        case 'w': option.window = strtoul(optarg, NULL, 10); break;
        case 'r': option.rate = atof(optarg); break;
        case 't': option.seconds = atof(optarg); break;
        case 'T': option.tls = optarg; break;
        case 'C': option.certificate = optarg; break;
        default: exit(2);
        }
    option.mode = (enum mode)mode;
    if (mode < 0 || option.port <= 0 || option.connections < 1 || option.window < 1 || option.window > 65535 ||
        option.qos > 1 || (option.mode == MODE_FAN && (option.target_port <= 0 || option.size < 16 || option.qos))) {
        fprintf(stderr, "the options do not fit together; the head of load.c says what they mean\n");
        exit(2);
    }
}

int main(int count, char **words) {
    char line[16];
    read_options(count, words);
    use_all_descriptors();
    if (option.tls)
        tls_prepare(option.tls, option.certificate);
    prctl(PR_SET_TIMERSLACK, 1UL);
    lay_lap();
    fan_seen = calloc(option.window, sizeof *fan_seen);
    devices = calloc(option.connections, sizeof *devices);
    if (!fan_seen || !devices || (epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail("start");
    for (int i = 0; i < option.connections; i++) {
        devices[i].fd = -1;
        if (option.qos && !(devices[i].stamps = calloc(lap_messages, sizeof(int64_t))))
            fail("calloc");
    }
    set_up();
    printf("READY\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 1;
    double seconds = option.mode == MODE_IDLE ? 0 : run();
    printf("{\"messages\": %lu, \"seconds\": %.6f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"errors\": %lu, "
           "\"late\": %lu}\n",
           messages, seconds, quantile_us(0.5), quantile_us(0.99), errors, late);
    fflush(stdout);
    return fgets(line, sizeof line, stdin) == NULL && ferror(stdin);
}
