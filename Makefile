# `make demo` and `make test` do everything on a fresh Debian or Ubuntu machine. Run twice, the second run is quick:
# what is there is not installed again.

PYTHON ?= python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
BUILDER := .venv/bin/builder

# Commands and files, each with the Debian packages that bring it.
GOCODE := /usr/share/gocode/src/github.com
RUN_TOOLS := nix:nix-bin podman:podman,runc skopeo:skopeo gpgv:gpgv \
  /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
TEST_TOOLS := $(RUN_TOOLS) umoci:umoci docker-registry:docker-registry unshare:util-linux xz:xz-utils go:golang-go \
  /usr/lib/$(shell uname -m)-linux-gnu/libisal.so.2:libisal2 git:git openssl:openssl ip:iproute2 \
  /usr/sbin/sshd:openssh-server ssh:openssh-client /usr/sbin/nginx:nginx-light /usr/sbin/fcgiwrap:fcgiwrap \
  shellcheck:shellcheck jq:jq curl:curl \
  $(GOCODE)/containerd/stargz-snapshotter:golang-github-containerd-stargz-snapshotter-dev \
  $(GOCODE)/opencontainers/image-spec/schema:golang-github-opencontainers-image-spec-dev
# What it recommends are programs for every kind of file there is.
LEAN_TOOLS := diffoscope:--no-install-recommends,diffoscope-minimal
BENCH_TOOLS := $(RUN_TOOLS) buildah:buildah curl:curl openssl:openssl ip:iproute2 /usr/sbin/nginx:nginx-light

.PHONY: help demo test test-fast bench lint format venv run-tools test-tools bench-tools

help:
	@echo 'make demo       build and run the demo app, and send it a request'
	@echo 'make test       all tests: real Nix builds, real containers'
	@echo 'make test-fast  unit tests: neither Nix nor network, seconds'
	@echo 'make bench      race a Containerfile build on the same lock; measure a CUDA build, checks, 200 apps and a cache'
	@echo 'make lint       ruff, mypy and the format of Nix files'

venv: .venv/installed

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || $(MAKE) --no-print-directory install WANTED=python3-venv
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade 'pip>=26'
	.venv/bin/python -m pip install --quiet --editable . --group dev
	@touch $@

# Installs the Debian packages of those that are not there. Nix's own installer puts it where PATH may not lead yet.
define ensure
	@wanted=$$(for tool in $(1); do \
	  case $$tool in /*) [ -e $${tool%%:*} ] ;; *) command -v $${tool%%:*} >/dev/null ;; esac || \
	  [ -x /nix/var/nix/profiles/default/bin/$${tool%%:*} ] || echo $${tool#*:} | tr , ' '; \
	done); \
	[ -z "$$wanted" ] || $(MAKE) --no-print-directory install WANTED="$$(echo $$wanted)"
endef

install:
	@command -v apt-get >/dev/null || { echo 'This machine has no apt-get. Install by its own means: $(WANTED)' >&2; \
	  echo 'Nix for any system: https://nixos.org/download (2.8 or newer, no configuration needed)' >&2; exit 1; }
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y $(WANTED) >/dev/null

run-tools:
	$(call ensure,$(RUN_TOOLS))

test-tools:
	$(call ensure,$(TEST_TOOLS))
	$(call ensure,$(LEAN_TOOLS))

bench-tools:
	$(call ensure,$(BENCH_TOOLS))

demo: venv run-tools
	@.venv/bin/python examples/demo.py

test: venv test-tools
	.venv/bin/python -m pytest tests

test-fast: venv
	.venv/bin/python -m pytest tests/unit

bench: venv bench-tools
	@failed=0; for part in race cuda checks many cache; do \
	  echo "== bench/$$part.py"; .venv/bin/python bench/$$part.py || failed=1; \
	done; exit $$failed

lint: venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: venv
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
