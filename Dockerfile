# One image for the whole lab: chat, analyser, firewall. Layers in the order of how seldom they change.
FROM python:3.13-slim-trixie

# tshark dissects single packets and answers `verify`; the netfilter tools load, prove and apply rules.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      tshark iptables nftables ipset iproute2 conntrack procps \
 && rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/*

# the libraries alone, so that a change of our code does not install them again
COPY pyproject.toml /tmp/pyproject.toml
RUN python3 -c "import tomllib; print('\n'.join(tomllib.load(open('/tmp/pyproject.toml','rb'))['project']['dependencies']))" > /tmp/requirements.txt \
 && pip install --no-cache-dir --break-system-packages -r /tmp/requirements.txt \
 && find / -xdev -type d \( -name tests -o -name test \) -path '*-packages*' -prune -exec rm -rf {} + \
 && find / -xdev -type d -name include -path '*pyarrow*' -prune -exec rm -rf {} + \
 && find / -xdev -name '*.pyc' -path '*-packages*' -delete \
 && rm /tmp/pyproject.toml /tmp/requirements.txt

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/opt/tapwall \
    NUMBA_CACHE_DIR=/opt/kernels NUMBA_CPU_NAME=generic MPLCONFIGDIR=/tmp/matplotlib TERM=xterm-256color

RUN useradd --uid 1234 --create-home --shell /usr/sbin/nologin tapwall \
 && mkdir -p /opt/tapwall /opt/kernels /captures /data /report \
 && chown tapwall: /captures /data /report

# the kernels, compiled now: a container's first capture does not wait for the compiler
COPY analysis /opt/tapwall/analysis
COPY chat /opt/tapwall/chat
COPY captures /opt/tapwall/captures
COPY bench/warm.py /opt/tapwall/bench/warm.py
RUN TAPWALL_JIT=on python3 /opt/tapwall/bench/warm.py && chmod -R a+rX /opt/kernels

COPY firewall /opt/tapwall/firewall
COPY tapwall /opt/tapwall/tapwall
RUN printf '#!/bin/sh\nexec python3 -m tapwall "$@"\n' > /usr/local/bin/tapwall && chmod 755 /usr/local/bin/tapwall

WORKDIR /opt/tapwall
USER tapwall
ENTRYPOINT ["tapwall"]
CMD ["--help"]
