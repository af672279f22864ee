#!/bin/sh
# /etc/letsencrypt/renewal-hooks/deploy/mgate: certbot runs it after each renewal.
set -e
install -o mgate -m 0400 "$RENEWED_LINEAGE/privkey.pem" /etc/mgate/server.key
install -o mgate -m 0444 "$RENEWED_LINEAGE/fullchain.pem" /etc/mgate/server.pem
systemctl reload mgate
