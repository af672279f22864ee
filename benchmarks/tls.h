/* What load needs of TLS: full handshakes, and bytes through a socket that does not block. Compiled without WITH_TLS,
 * as for the program load, nothing of this is there; the program load-tls has it. */
#ifndef TLS_H
#define TLS_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#ifdef WITH_TLS
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

static SSL_CTX *tls_context;

static inline void tls_fail(const char *what) {
    fprintf(stderr, "%s: ", what);
    ERR_print_errors_fp(stderr);
    exit(3);
}

static inline int tls_agree(X509_STORE_CTX *chain, void *unused) {
    (void)chain;
    (void)unused;
    return 1;
}

/* All is chosen here, so that every peer negotiates the same: AES-128-GCM and X25519. There is never a session to
 * resume. The chain of the far end is not verified: that is work of the devices, and they are not measured. */
static inline void tls_prepare(const char *version, const char *certificate) {
    int number = !strcmp(version, "1.3") ? TLS1_3_VERSION : !strcmp(version, "1.2") ? TLS1_2_VERSION : 0;
    char key[4096];
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    if (!number || !(tls_context = SSL_CTX_new(TLS_client_method())) ||
        !SSL_CTX_set_min_proto_version(tls_context, number) || !SSL_CTX_set_max_proto_version(tls_context, number) ||
        !SSL_CTX_set_ciphersuites(tls_context, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set_cipher_list(tls_context, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256") ||
        !SSL_CTX_set1_groups_list(tls_context, number == TLS1_3_VERSION ? "X25519" : "X25519:P-256"))
        tls_fail("TLS");
    SSL_CTX_set_cert_verify_callback(tls_context, tls_agree, NULL);
    SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(tls_context, 1);
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
    snprintf(key, sizeof key, "%s.key", certificate ? certificate : "");
    if (certificate && (SSL_CTX_use_certificate_chain_file(tls_context, certificate) != 1 ||
                        SSL_CTX_use_PrivateKey_file(tls_context, key, SSL_FILETYPE_PEM) != 1))
        tls_fail(certificate);
}

static inline SSL *tls_start(int fd) {
    SSL *tls = SSL_new(tls_context);
    if (!tls || !SSL_set_fd(tls, fd) || !SSL_set_tlsext_host_name(tls, "localhost"))
        tls_fail("TLS connection");
    SSL_set_connect_state(tls);
    return tls;
}

/* >0 as it is, 0 would block, -1 the connection is over; whether by close_notify is all the same to MQTT, which has
 * its own end. */
static inline ssize_t tls_outcome(SSL *tls, int returned) {
    int why = returned > 0 ? SSL_ERROR_NONE : SSL_get_error(tls, returned);
    if (why == SSL_ERROR_NONE)
        return returned;
    ERR_clear_error();
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* >0 done, 0 would block, -1 refused. A handshake that is not a full one counts as refused. */
static inline ssize_t tls_shake(SSL *tls) {
    ssize_t outcome = tls_outcome(tls, SSL_do_handshake(tls));
    return outcome > 0 && SSL_session_reused(tls) ? -1 : outcome;
}

static inline ssize_t tls_take(SSL *tls, void *into, size_t room) {
    return tls_outcome(tls, SSL_read(tls, into, (int)room));
}

/* At most one record. What was refused once has to be offered again, and nothing else before it. */
static inline ssize_t tls_give(SSL *tls, const void *from, size_t count) {
    return tls_outcome(tls, SSL_write(tls, from, (int)count));
}

/* `politely`: answer the far end's close_notify (RFC 8446 section 6.1). */
static inline void tls_end(SSL *tls, int politely) {
    if (politely)
        SSL_shutdown(tls);
    ERR_clear_error();
    SSL_free(tls);
}

#else
typedef void SSL;

static inline void tls_prepare(const char *version, const char *certificate) {
    fprintf(stderr, "TLS %s%s: this is load, which was compiled without TLS; load-tls has it\n", version,
            certificate ? " with a certificate" : "");
    exit(2);
}
static inline SSL *tls_start(int fd) { (void)fd; return NULL; }
static inline ssize_t tls_shake(SSL *tls) { (void)tls; return -1; }
static inline ssize_t tls_take(SSL *tls, void *into, size_t room) { (void)tls; (void)into; (void)room; return -1; }
static inline ssize_t tls_give(SSL *tls, const void *from, size_t count) { (void)tls; (void)from; (void)count; return -1; }
static inline void tls_end(SSL *tls, int politely) { (void)tls; (void)politely; }
#endif
#endif
