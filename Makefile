# igdm. `make help` lists the targets. Each one first sets up what it needs and does nothing where nothing has changed.

PREFIX  ?= /usr/local
DESTDIR ?=
SWIFT   ?= swift
PYTHON  ?= python3

# igdm.pc carries the prefix: it has to be absolute.
override PREFIX := $(shell realpath --canonicalize-missing --no-symlinks "$(PREFIX)")

BUILD  := build
STAMPS := $(BUILD)/stamps
STAGE  := $(BUILD)/stage
VENV   := $(BUILD)/venv
PARITY := $(BUILD)/parity-venv
TOOLS  := $(BUILD)/tools-venv

# The ABI has a number of its own (the soname); the file behind it carries the version's minor and patch numbers.
ABI     := 1
version  = $(shell sed -n 's/^.define IGDM_VERSION_$(1) //p' include/igdm.h)
MINOR   := $(call version,MINOR)
PATCH   := $(call version,PATCH)
VERSION := $(call version,MAJOR).$(MINOR).$(PATCH)
SONAME  := libigdm.so.$(ABI)
LIBRARY := $(BUILD)/lib/$(SONAME)

# The Swift runtime goes into the library: nothing to install beside it, and it sets no signal handlers in its host. The
# runtime cannot be unloaded safely, hence nodelete. These flags work on the command line only (a linkerSetting of the
# package would break `swift test`), and tests have their own build folder so that neither build undoes the other.
LIBRARY_FLAGS := -Xswiftc -static-stdlib -Xlinker -soname=$(SONAME) -Xlinker -z -Xlinker nodelete \
                 -Xlinker --version-script="$(CURDIR)/Scripts/igdm.map"

SWIFT_SOURCES := Package.swift $(shell find -L Sources -type f)
C_PROGRAMS    := $(patsubst Tests/C/%.c,$(BUILD)/c-tests/%,$(wildcard Tests/C/test_*.c)) \
                 $(patsubst examples/c/%.c,$(BUILD)/c-tests/%,$(wildcard examples/c/*.c))
PIP           := -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup lib install demo teacher reproduce test parity distribution autoattack bench bench-kernels numerics c-programs format lint clean

help: ## Lists the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 15

setup: $(STAMPS)/swift $(STAMPS)/packages $(VENV)/ready ## Installs Debian packages, makes the Python environment

lib: $(LIBRARY) ## Builds build/lib/libigdm.so.1 and the link libigdm.so

install: $(LIBRARY) ## Installs header, library and igdm.pc under DESTDIR/PREFIX (default /usr/local)
	@install -d "$(DESTDIR)$(PREFIX)/include" "$(DESTDIR)$(PREFIX)/lib/pkgconfig"
	@install -m 644 include/igdm.h "$(DESTDIR)$(PREFIX)/include/igdm.h"
	@install -m 755 $(LIBRARY) "$(DESTDIR)$(PREFIX)/lib/$(SONAME).$(MINOR).$(PATCH)"
	@ln -sf $(SONAME).$(MINOR).$(PATCH) "$(DESTDIR)$(PREFIX)/lib/$(SONAME)"
	@ln -sf $(SONAME) "$(DESTDIR)$(PREFIX)/lib/libigdm.so"
	@sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' igdm.pc.in > "$(DESTDIR)$(PREFIX)/lib/pkgconfig/igdm.pc"
	@echo "Installed igdm $(VERSION) in $(DESTDIR)$(PREFIX)"

demo: $(LIBRARY) $(VENV)/ready ## Distils a small robust student on Fashion-MNIST and reports in runs/demo
	PYTHONPATH=bindings/python $(VENV)/bin/python examples/python/demo.py

teacher: $(LIBRARY) $(VENV)/ready ## Trains the teacher that ships in examples/data anew
	PYTHONPATH=bindings/python $(VENV)/bin/python examples/python/train_teacher.py

reproduce: $(LIBRARY) $(PARITY)/ready ## Every base method with and without IGDM: hours, goes on where it stopped (REPRODUCE=show: writes the tables, quick: minutes)
	$(PARITY)/bin/python Benchmarks/reproduce.py

test: $(LIBRARY) $(VENV)/ready $(STAMPS)/test-packages c-programs ## Runs every test that needs no PyTorch
	@SWIFT="$(SWIFT)" $(VENV)/bin/python Scripts/run_tests.py swift c abi python parity

parity: $(LIBRARY) $(PARITY)/ready ## Compares live with PyTorch (in an environment of its own)
	@$(PARITY)/bin/python Scripts/run_tests.py parity-live

distribution: $(LIBRARY) $(PARITY)/ready ## Compares random attacks with the authors' code: 1000 images, 3 or 6 seeds (hours; goes on where it stopped)
	@$(PARITY)/bin/python Benchmarks/distribution.py $(ARGS)

autoattack: $(LIBRARY) $(PARITY)/ready ## Compares AutoAttack as a whole with the authors' code, image by image (hours; goes on where it stopped)
	@$(PARITY)/bin/python Benchmarks/autoattack.py $(ARGS)

bench: $(LIBRARY) $(PARITY)/ready ## Measures speed and memory against PyTorch (ARGS="--quick", see Benchmarks/README.md)
	@$(PARITY)/bin/python Benchmarks/bench.py $(ARGS)

bench-kernels: $(STAMPS)/swift $(STAMPS)/packages ## Times the convolutions one by one (ARGS="batch part-of-a-name")
	@$(SWIFT) build -c release --product kernel-bench --scratch-path $(BUILD)/swift-bench 2>&1 | tail -n 1
	@$(BUILD)/swift-bench/release/kernel-bench $(ARGS)

numerics: $(LIBRARY) $(PARITY)/ready ## Measures how exactly igdm computes and writes the tables of docs/numerics.md
	@rm -f $(BUILD)/kernel-errors.tsv
	@IGDM_NUMERICS="$(CURDIR)/$(BUILD)/kernel-errors.tsv" $(SWIFT) test -c release -Xswiftc -enable-testing \
	    --scratch-path $(BUILD)/swift-test --filter NumericsTests > $(BUILD)/numerics.log || { cat $(BUILD)/numerics.log; exit 1; }
	@$(PARITY)/bin/python Benchmarks/numerics.py $(BUILD)/kernel-errors.tsv $(SECTIONS)

format: $(TOOLS)/ready ## Formats Swift and Python sources
	$(SWIFT) format --in-place --parallel --recursive Package.swift Sources Tests Benchmarks
	$(TOOLS)/bin/ruff check --quiet --fix .
	$(TOOLS)/bin/ruff format --quiet .

lint: $(TOOLS)/ready ## Checks the style of Swift and Python sources
	$(SWIFT) format lint --strict --parallel --recursive Package.swift Sources Tests Benchmarks
	$(TOOLS)/bin/ruff check --quiet .
	$(TOOLS)/bin/ruff format --quiet --check .

clean: ## Removes everything that was built, environments included
	rm -rf $(BUILD)

# The files behind the targets.

$(STAMPS)/packages: Scripts/setup.sh
	@Scripts/setup.sh packages "$(PYTHON)"
	@mkdir -p $(@D) && touch $@

$(STAMPS)/test-packages: Scripts/setup.sh
	@Scripts/setup.sh test-packages
	@mkdir -p $(@D) && touch $@

$(STAMPS)/swift: Scripts/setup.sh
	@Scripts/setup.sh swift "$(SWIFT)"
	@mkdir -p $(@D) && touch $@

# A running program may have the old file mapped: the new one takes its place by renaming.
$(LIBRARY): $(STAMPS)/swift $(STAMPS)/packages $(SWIFT_SOURCES) include/igdm.h Scripts/igdm.map Makefile
	$(SWIFT) build -c release --product igdm --scratch-path $(BUILD)/swift-lib $(LIBRARY_FLAGS)
	@mkdir -p $(@D)
	@cp $(BUILD)/swift-lib/release/libigdm.so $@.new && mv -f $@.new $@
	@ln -sf $(SONAME) $(@D)/libigdm.so

$(VENV)/ready: $(STAMPS)/packages Tests/Python/requirements.txt
	@echo "Making the Python environment $(VENV)"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(VENV)/bin/python $(PIP) -r Tests/Python/requirements.txt
	@touch $@

$(PARITY)/ready: $(STAMPS)/packages Tests/Python/requirements.txt Tests/Parity/definitions.txt Tests/Parity/peers.txt
	@echo "Making the Python environment $(PARITY) with PyTorch for the CPU"
	@"$(PYTHON)" -m venv --clear $(PARITY)
	@$(PARITY)/bin/python $(PIP) -r Tests/Python/requirements.txt
	@$(PARITY)/bin/python $(PIP) torch==2.13.0+cpu 2>/dev/null || $(PARITY)/bin/python $(PIP) torch
	@$(PARITY)/bin/python $(PIP) pillow
	@$(PARITY)/bin/python $(PIP) --no-deps -r Tests/Parity/definitions.txt -r Tests/Parity/peers.txt
	@touch $@

$(TOOLS)/ready: $(STAMPS)/packages
	@"$(PYTHON)" -m venv --clear $(TOOLS)
	@$(TOOLS)/bin/python $(PIP) ruff
	@touch $@

# C tests and examples are built the way a user would: against an installed tree, through pkg-config.
c-programs: $(C_PROGRAMS)

$(STAGE)/ready: $(LIBRARY) include/igdm.h igdm.pc.in
	@$(MAKE) --no-print-directory install PREFIX="$(CURDIR)/$(STAGE)" DESTDIR=
	@touch $@

STAGED  = $$(PKG_CONFIG_PATH="$(CURDIR)/$(STAGE)/lib/pkgconfig" pkg-config --cflags --libs igdm)
HDF5    = $$(pkg-config --cflags --libs hdf5)
C_FLAGS = -std=c11 -O1 -g -Wall -Wextra -Werror -Wl,-rpath,"$(CURDIR)/$(STAGE)/lib"

$(BUILD)/c-tests/%: Tests/C/%.c $(wildcard Tests/C/*.h) $(STAGE)/ready
	@mkdir -p $(@D)
	@echo "Compiling $<"
	@$(CC) $(C_FLAGS) -std=gnu11 -DSYMBOLS='"$(CURDIR)/Tests/C/symbols.txt"' $< -o $@ $(STAGED) $(HDF5) -pthread -lm

$(BUILD)/c-tests/%: examples/c/%.c $(STAGE)/ready
	@mkdir -p $(@D)
	@echo "Compiling $<"
	@$(CC) $(C_FLAGS) $< -o $@ $(STAGED)
