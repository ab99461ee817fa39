# One image for the whole lab: chat, analyser, firewall. Layers in the order of how seldom they change.

# The libraries' names alone: another word in pyproject.toml does not install them again.
FROM python:3.13-slim-trixie AS names
COPY pyproject.toml /
RUN python3 -c "import tomllib; print('\n'.join(tomllib.load(open('/pyproject.toml','rb'))['project']['dependencies']))" > /requirements.txt

FROM python:3.13-slim-trixie

# tshark dissects single packets and answers `verify`; the netfilter tools load, prove and apply rules. dumpcap and a
# copy of Python that carries one capability let sniffer and intruder be ordinary users.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      tshark iptables nftables ipset iproute2 conntrack procps libcap2-bin \
 && setcap cap_net_raw,cap_net_admin+eip /usr/bin/dumpcap && chmod 755 /usr/bin/dumpcap \
 && python="$(readlink -f "$(command -v python3)")" \
 && cp "$python" "${python%/*}/python-raw" && setcap cap_net_raw+ep "${python%/*}/python-raw" \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /usr/share/doc/* /usr/share/man/* /usr/share/locale/*

# What no command of ours loads goes at once (tests, headers, Arrow's network and S3 parts, PDF's fonts, scapy's further
# protocols), and so do debug symbols that some wheels still carry. What every command loads is compiled to bytecode
# now: the containers' disks are read-only.
COPY --from=names /requirements.txt /tmp/requirements.txt
RUN apt-get update && apt-get install -y --no-install-recommends binutils \
 && pip install --no-cache-dir --no-compile -r /tmp/requirements.txt \
 && cd "$(python3 -c 'import numpy, pathlib; print(pathlib.Path(numpy.__file__).parents[1])')" \
 && find . -type d \( -name tests -o -name test \) -prune -exec rm -rf {} + \
 && rm -rf pyarrow/include pyarrow/src pyarrow/*.pyx pyarrow/*.pxi pyarrow/*flight* pyarrow/*s3* \
      pyarrow/libarrow_python.so pyarrow/libarrow_python.so.*.*.* matplotlib/mpl-data/sample_data scapy/contrib \
 && find fontTools -mindepth 1 -maxdepth 1 -type d ! -name misc -exec rm -rf {} + \
 && find llvmlite numba cryptography matplotlib contourpy kiwisolver PIL fontTools uvloop zstandard msgspec lz4 -name '*.so' -exec strip --strip-unneeded {} + \
 && strip --strip-unneeded pyarrow/lib*.so* \
 && apt-get purge -y --auto-remove binutils \
 && MPLCONFIGDIR=/tmp/matplotlib python3 -c "import pyarrow.parquet, numba, uvloop, zstandard, lz4.frame, msgspec, matplotlib.figure, matplotlib.backends.backend_svg, scapy.all, pandas, click, rich.table, jinja2, cryptography.x509, argon2, PIL.Image" \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /tmp/* /root/.cache /root/.config /root/.local

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/opt/tapwall \
    NUMBA_CACHE_DIR=/opt/kernels NUMBA_CPU_NAME=generic MPLCONFIGDIR=/tmp/matplotlib TERM=xterm-256color

RUN useradd --uid 1234 --create-home --shell /usr/sbin/nologin tapwall \
 && mkdir -p /opt/tapwall /opt/kernels /captures /data /report \
 && chown -R tapwall: /captures /data /report \
 && printf '#!/bin/sh\nexec python3 -m tapwall "$@"\n' > /usr/local/bin/tapwall && chmod 755 /usr/local/bin/tapwall

# The kernels, compiled now: a container's first capture does not wait for the compiler. The builder keeps them, so that
# a change of our code compiles again only what it touched.
COPY analysis /opt/tapwall/analysis
COPY chat /opt/tapwall/chat
COPY captures /opt/tapwall/captures
COPY bench/warm.py /opt/tapwall/bench/warm.py
RUN --mount=type=cache,id=tapwall-kernels,target=/var/cache/kernels,sharing=locked \
    NUMBA_CACHE_DIR=/var/cache/kernels TAPWALL_JIT=on python3 /opt/tapwall/bench/warm.py \
 && cp -r /var/cache/kernels/. /opt/kernels/ && chmod -R a+rX /opt/kernels

COPY firewall /opt/tapwall/firewall
COPY tapwall /opt/tapwall/tapwall
RUN python3 -m compileall -q /opt/tapwall

WORKDIR /opt/tapwall
USER tapwall
ENTRYPOINT ["tapwall"]
CMD ["--help"]
