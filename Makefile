# SPDX-License-Identifier: Apache-2.0
#
# A short menu. meson builds and installs; the other targets run scripts in tests/.

BUILD ?= build

.DEFAULT_GOAL := help
.PHONY: help setup build check check-vm soak quick demo bench generate install uninstall dist rpm clean

help: ## show this menu
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | column -t -s "$$(printf '\t')"

setup: ## install what the build and the tests need (Debian and Fedora, as root); SETUP=show only prints it
	@tests/setup.sh

build: ## build everything into $(BUILD)
	@tests/setup.sh build
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD)
	@meson compile -C $(BUILD)

check: setup build ## lint, drift, unit, fuzz and end-to-end tests; ends with a count
	@tests/check.sh

check-vm: build ## tests on a virtual machine in QEMU: Debian 12, SELinux enforcing
	@BUILD=$(BUILD) tests/vm/run.sh

soak: build ## many more kills, power cuts, programs and seconds of fuzzing: SOAK=20 times, for hours
	@tests/setup.sh soak
	@tests/soak.sh

quick: ## unit tests only, no root, nothing installed
	@go test ./src/... ./bpf/... ./dbus/...

demo: build ## record real handshakes and show them
	@tests/setup.sh demo
	@tests/demo.sh

bench: build ## run the benchmarks; prints a table and writes $(BUILD)/bench.json
	@tests/bench.sh

generate: ## regenerate the BPF objects, tables and documents
	@go generate ./bpf ./tests/bench/counter ./dbus ./src/...

install: build ## install below DESTDIR, by meson
	@meson install -C $(BUILD)

uninstall: ## remove what was installed
	@ninja -C $(BUILD) uninstall

# --reconfigure updates the version, which depends on the commit.
dist: build ## make a tarball with the Go modules, in $(BUILD)/meson-dist
	@rm -rf $(BUILD)/meson-dist
	@meson setup --reconfigure $(BUILD) >/dev/null
	@meson dist -C $(BUILD) --no-tests

rpm: dist ## build and check the packages, in $(BUILD)/rpm
	@rpm/build.sh $(BUILD)/meson-dist/*.tar.xz $(BUILD)/rpm

clean: ## remove what was built
	@rm -rf $(BUILD)
