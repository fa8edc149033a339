# The words a person types, and the ones the runner calls. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What the tests and the comparison use: the program (or the file) that shows it is there, and its Debian package.
TEST_PROGRAMS := nginx:nginx-light redis-server:redis-server redis-cli:redis-tools promtool:prometheus amtool:prometheus-alertmanager curl:curl systemd-analyze:systemd \
	dnsmasq:dnsmasq-base dig:bind9-dnsutils ip:iproute2 ss:iproute2 nft:nftables openssl:openssl haproxy:haproxy \
	/usr/lib/nginx/modules/ngx_stream_module.so:libnginx-mod-stream \
	keepalived:keepalived bird:bird2 dpkg-deb:dpkg /usr/share/doc/python3-venv:python3-venv \
	chromium:chromium node:nodejs npm:npm
BENCH_PROGRAMS := nginx:nginx-light /usr/lib/nginx/modules/ngx_stream_module.so:libnginx-mod-stream haproxy:haproxy wrk:wrk \
	h2load:nghttp2-client openssl:openssl taskset:util-linux valgrind:valgrind

# Debian's daemons stand where a user's PATH may not look.
export PATH := $(PATH):/usr/sbin:/sbin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# RUNLEVEL=1: a daemon that starts with its package would take ports and processor time.
define install
	missing=(); \
	for pair in $1; do \
		command -v "$${pair%%:*}" >/dev/null || [[ -e "$${pair%%:*}" ]] || missing+=("$${pair##*:}"); \
	done; \
	if (( $${#missing[@]} )); then \
		echo "installing $${missing[*]}"; \
		$(SUDO) apt-get update -qq; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
			apt-get install -y -qq --no-install-recommends "$${missing[@]}" >/dev/null; \
	fi
endef

.PHONY: help build deb run-demo test soak lint bench bench-micro bench-compare test-packages bench-packages

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

build: ## the release binary, target/release/weir
	cargo build --release --bin weir

deb: build ## a Debian package, target/debian/*.deb (needs cargo-deb)
	deploy/debian/pages target/release/weir target/release/pages
	cargo deb --no-build --package weir

run-demo: ## replicas, load and a balancer, to look at and to break
	cargo run --release --bin weir -- demo

test: test-packages ## everything: pure, simulated and live
	# With the tests, so that what both are made of is built once: tests ask more of some crates.
	cargo build --workspace --bins --tests
	cargo test --workspace --no-fail-fast

soak: test-packages ## what takes minutes: a hundred reloads under load, ten thousand sessions
	cargo build --workspace --bins --tests
	cargo test --workspace --test live -- --ignored --nocapture

lint: ## format, clippy and documentation, with warnings as errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

bench: bench-micro bench-compare ## micro benches, then Weir beside nginx and HAProxy

bench-micro: ## pick, route, publish, parse
	cargo bench -p weir-benches

bench-compare: bench-packages ## CPU per request and memory beside nginx and HAProxy
	cargo build --release --bin weir -p weir
	cargo run --release -p weir-benches --bin compare -- $(COMPARE)

test-packages:
	@$(call install,$(TEST_PROGRAMS))
	@$(MAKE) --no-print-directory target/tools/installed

# Linters, and another balancer, that Debian does not have, in a directory of their own; again when their list changes.
target/tools/installed: integration-tests/requirements.txt
	@echo "installing $$(grep -c == $<) programs into target/tools"
	@python3 -m venv target/tools
	@target/tools/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

bench-packages:
	@$(call install,$(BENCH_PROGRAMS))
