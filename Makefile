# The commands a person types. Each does all its set-up itself.

LISTEN ?= 127.0.0.1:3000
DATABASE := .spin/sqlite_db.db
SAMPLE := .spin/sample
SAMPLE_ROWS := 100000
CARGO ?= cargo
WASM := wasm32-wasip2

# Another program is called spin too (a model checker), hence the look at what it says of itself. From 4.1 on Spin runs
# the faster component of WASI 0.3, as the test host does; from 2.6 on that of WASI 0.2.
SPIN_SAYS := $(shell spin --version 2>/dev/null)
SPIN := $(shell echo '$(SPIN_SAYS)' | grep -Eq '^spin (2\.([6-9]|[1-9][0-9])|[3-9]|[1-9][0-9])' && echo spin)
WASIP2 := $(shell echo '$(SPIN_SAYS)' | grep -Eq '^spin (2|3|4\.0)\.' && echo wasip2)
UP_FROM := $(if $(WASIP2),spin.toml,spin-wasip3.toml)

# All that runs on this machine. Cargo chooses the features of what they share for all of it: for a part of it
# (`-p test-host`) it would choose others, and build wasmtime a second time. So what is to be built is named by
# its binaries, of the whole.
COMPONENTS := flow-window-spin flow-window-wasip2
GUESTS := $(COMPONENTS) probe probe-wasip2
NATIVE_PACKAGES := --workspace $(addprefix --exclude ,$(GUESTS))
TEST_HOST := $(NATIVE_PACKAGES) --bin flows --bin test-host
NATIVE := $(if $(SPIN),-p flows,$(TEST_HOST))

# For clients that are written in Python; `make test` goes on without.
PYTHON ?= python3

# What `make fuzz` does; two with targets of their own may run at a time.
TARGETS ?= query grammars page flows
SECONDS_EACH ?= 600

.PHONY: help up test test-only libsql soak fuzz fuzz-keep nightly fuzz-api test-page clients lint load bench host-facts component native target
.DELETE_ON_ERROR:

help:
	@echo 'make up                serve flows on http://$(LISTEN)'
	@echo 'make load FILES="…"    load files in the format of flows.txt.gz; prepare the database without FILES'
	@echo 'make test              run every test'
	@echo 'make test-only         run a part of them: TEST=contract ONLY=window::'
	@echo 'make libsql            test against a libSQL server: SQLD=…/sqld, and SPIN=…/spin for a real Spin'
	@echo 'make soak              the long runs of faults on service and loader, and a row of figures for each'
	@echo 'make fuzz              look for inputs that break a property; TARGETS="page flows" SECONDS_EACH=60'
	@echo 'make fuzz-keep         bring what that has found into tests/fuzz/corpus, which `make test` replays'
	@echo 'make fuzz-api          have schemathesis ask what the OpenAPI document allows, and what it does not'
	@echo 'make test-page         try the page in a Chromium: drag, filter, copy, and what it must never do'
	@echo 'make clients           read answers by curl, requests, pandas, polars, DuckDB, pyarrow, lxml and node'
	@echo 'make host-facts        hold a host to what the test host is held to; HOST=…/spin names another'
	@echo 'make bench             measure the component beside a native server; BENCH="--help" tells what else'
	@echo 'make lint              formatting, clippy and rustdoc, warnings denied; cargo deny if it is there'

up: component native $(DATABASE)
	@echo
	@echo 'Try:  curl "http://$(LISTEN)/api/v1/stream/flows?scanned_after=0&scanned_before=1&limit=3"'
	@echo
	@$(if $(SPIN),$(SPIN),target/debug/test-host) up --from $(UP_FROM) --listen $(LISTEN)

# Flows of your own take the place of the sample, as long as nothing else has been added to it. INDEX names the columns
# that are to have an index for filters.
load: native
	@index='$(if $(INDEX),--index=$(INDEX))'; if [ -n "$(FILES)" ] && [ -f $(SAMPLE) ] && [ ! -s $(DATABASE)-wal ] \
	    && [ "$$(cat $(SAMPLE))" = "$$(cksum $(DATABASE))" ]; then \
	    echo 'The sample flows make room for yours.'; replace='--replace --renumber'; \
	    index='--index=$(INDEX)'; \
	fi; \
	set -x; target/debug/flows load $$replace $$index $(FILES)
	@if [ -n "$(FILES)" ]; then rm -f $(SAMPLE); fi

test: component
	$(CARGO) build --quiet --target $(WASM) --release -p probe -p probe-wasip2
	$(CARGO) test $(NATIVE_PACKAGES)
	MANIFEST=spin-wasip3.toml $(CARGO) test $(NATIVE_PACKAGES) --test contract --test resilience
	@if $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then $(MAKE) --no-print-directory fuzz-api; \
	    else echo 'fuzz-api is left out: there is no $(PYTHON) with the modules venv and ensurepip'; fi
	@if [ -z '$(CHROMIUM)' ]; then echo 'test-page is left out: there is no Chromium'; \
	    elif $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then $(MAKE) --no-print-directory test-page; fi

# Part of the tests, of the component of spin.toml; MANIFEST=spin-wasip3.toml has the other one.
test-only:
	$(CARGO) test $(NATIVE_PACKAGES) --test $(TEST) -- $(ONLY)

# A libSQL server under the test host: the contract, and what can go wrong with the server. SPIN=…/spin has the second
# half over a real Spin. MANIFEST names one component; without it both are tested.
libsql: component
	@test -x '$(SQLD)' || { echo 'needs SQLD=…/sqld' >&2; exit 1; }
	@set -ex; export SQLD='$(abspath $(SQLD))' $(if $(SPIN_NAMED),SPIN='$(abspath $(SPIN))'); \
	for manifest in $(or $(MANIFEST),spin.toml spin-wasip3.toml); do export MANIFEST=$$manifest; \
	    $(if $(SPIN_NAMED),,$(CARGO) test $(WITH_LIBSQL) --test contract -- $(addprefix --skip ,$(FILE_ONLY));) \
	    $(CARGO) test $(WITH_LIBSQL) --test resilience -- --test-threads=1 libsql::; \
	done

SPIN_NAMED := $(filter command,$(origin SPIN))
WITH_LIBSQL := $(NATIVE_PACKAGES) --features test-host/libsql

# The contract's tests of what a server does not do: long answers of a table without the guard, or whose guard is lost
# by an edit; a read transaction under an answer; a lock that a writer beside the server holds; another file under the
# path of the one that is served.
FILE_ONLY := \
    arrow::a_stream_holds_what_the_same_answer_holds_in_json \
    arrow::columns_come_alone_and_in_the_order_that_is_asked_for \
    arrow::counts_come_as_a_stream_as_well \
    columns::every_format_has_the_columns_that_are_asked_for_in_their_order \
    columns::portions_of_some_columns_are_the_flows_of_the_whole_answer \
    counts::a_histogram_is_the_sums_of_each_bucket \
    counts::the_top_is_what_grouping_and_sorting_everything_gives \
    edits::a_cursor_of_more_than_the_table_has_is_gone \
    edits::a_guard_that_is_lost_or_damaged_is_not_relied_on \
    edits::a_table_without_a_guard_says_so_and_gives_no_tag_and_no_lineage \
    edits::an_answer_reads_one_file_wherever_its_path_leads_to \
    edits::an_edit_under_an_answer_is_not_seen_by_it_with_a_write_ahead_log \
    edits::every_edit_changes_the_tag_and_a_lineage_only_what_new_ids_do_not_show \
    edits::every_edit_ends_the_cursors_and_an_arrival_none \
    edits::without_a_guard_a_portion_that_ends_with_its_second_goes_on \
    edits::without_a_guard_every_commit_under_an_answer_cuts_it_or_is_not_seen \
    filters::numbers_stored_as_text_and_text_stored_as_numbers_match_as_they_are_written \
    problems::a_database_that_stays_locked_is_503_and_says_when_to_come_back

# One test at a time, so that the times and the memory are those of one kind of trouble. ONLY picks tests by a part of
# their names, such as `disk::`; MANIFEST=spin-wasip3.toml has the other component.
soak: component
	SOAK=1 $(CARGO) test $(NATIVE_PACKAGES) --test resilience -- --nocapture --test-threads=1 $(ONLY)
	SOAK=1 $(CARGO) test $(NATIVE_PACKAGES) --test load -- --nocapture --test-threads=1 $(or $(ONLY),faults::)

# Goes on with the other targets behind one that fails. No sanitizer of memory: nothing in src/ is unsafe.
FUZZ = $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none
FOUND := target/fuzz/corpus

fuzz: nightly
	@failed=; for target in $(TARGETS); do \
	    mkdir -p $(FOUND)/$$target; dictionary=tests/fuzz/dictionaries/$$target.dict; \
	    test -f $$dictionary && dictionary=-dict=$$dictionary || dictionary=; \
	    $(FUZZ) $$target $(FOUND)/$$target tests/fuzz/corpus/$$target -- \
	        $$dictionary -max_total_time=$(SECONDS_EACH) -timeout=10 -print_final_stats=1 || failed="$$failed $$target"; \
	done; test -z "$$failed" || { echo "broken:$$failed" >&2; exit 1; }

# Files with a name of words are written by hand and stay. Those with a hash are chosen anew: the fewest
# that reach what has been reached beyond them.
fuzz-keep: nightly
	@set -e; for target in $(TARGETS); do \
	    corpus=tests/fuzz/corpus/$$target; earlier=target/fuzz/earlier/$$target; \
	    mkdir -p $$earlier $(FOUND)/$$target; \
	    find $$corpus -type f | grep -E '/[0-9a-f]{40}$$' | xargs -r mv -t $$earlier; \
	    $(FUZZ) $$target $$corpus $$earlier $(FOUND)/$$target -- -set_cover_merge=1 -use_counters=0 -timeout=10; \
	    rm -r $$earlier; \
	    echo "$$corpus: $$(ls $$corpus | wc -l) files, $$(cat $$corpus/* | wc -c) bytes"; \
	done

nightly:
	@rustup run nightly rustc --version >/dev/null 2>&1 \
	    || { echo 'needs a nightly toolchain: rustup toolchain install nightly --profile minimal' >&2; exit 1; }
	@$(CARGO) fuzz --version >/dev/null 2>&1 \
	    || { echo 'needs cargo-fuzz: cargo install cargo-fuzz --locked' >&2; exit 1; }

# HOST is a program with the command line of `spin up`. ONLY picks facts by a part of their names.
host-facts: FACTS_HOST = $(abspath $(shell command -v '$(HOST)'))
host-facts: target
	@test -z '$(HOST)' || test -n '$(FACTS_HOST)' || { echo 'there is no program $(HOST)' >&2; exit 1; }
	$(CARGO) build --quiet --target $(WASM) --release -p probe -p probe-wasip2
	FACTS_HOST='$(if $(HOST),$(FACTS_HOST))' $(CARGO) test $(NATIVE_PACKAGES) --test host_facts -- $(ONLY)

# Each in a virtual environment of its own, which is made again when its list of packages changes.
fuzz-api: component target/python/fuzz/installed
	$(CARGO) build $(TEST_HOST)
	target/python/fuzz/bin/python tests/fuzz/run.py

# The page in a Chromium, whose path CHROMIUM is. Screenshots are in target/page.
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

test-page: component target/python/page/installed
	@test -n '$(CHROMIUM)' || { echo 'needs a Chromium; CHROMIUM=… names it' >&2; exit 1; }
	$(CARGO) build $(TEST_HOST)
	CHROMIUM='$(CHROMIUM)' target/python/page/bin/python tests/page/page.py

# TIMES=1 measures how long readers take instead; MANIFEST=spin-wasip3.toml has the other component.
clients: component target/python/clients/installed
	$(CARGO) build $(TEST_HOST)
	target/python/clients/bin/python tests/clients/$(if $(TIMES),times,read_back).py

target/python/%/installed: tests/%/requirements.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# BENCH takes more arguments, such as --rows 5000000, --scale or --slow-clients. A Spin before 4.1 does not run both
# components: then the test host does.
bench: component
	$(CARGO) build --quiet --target $(WASM) --release -p probe-wasip2
	$(CARGO) build $(if $(filter spin,$(if $(WASIP2),,$(SPIN))),-p bench,$(TEST_HOST) --bin bench)
	target/debug/bench --chart tools/bench/bench.svg $(BENCH)

lint: target
	$(CARGO) fmt --all --check
	cd tests/fuzz && $(CARGO) fmt --check
	$(CARGO) clippy $(NATIVE_PACKAGES) --all-targets -- -D warnings
	$(CARGO) clippy --target $(WASM) -p flow-window $(addprefix -p ,$(GUESTS)) -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(NATIVE_PACKAGES) --no-deps
	@for component in $(COMPONENTS); do \
	    twice=$$($(CARGO) tree --locked --quiet -p $$component --target $(WASM) -e normal,no-proc-macro -d) \
	        && [ -z "$$twice" ] || { echo "twice in $$component: $$twice"; exit 1; }; \
	done
	@if $(CARGO) deny --version >/dev/null 2>&1; then set -x; $(CARGO) deny --locked --workspace check licenses bans sources; \
	    else echo 'cargo deny is left out: it is not installed (cargo install --locked cargo-deny)'; fi

component: target
	$(CARGO) build --target $(WASM) --release $(addprefix -p ,$(COMPONENTS))

# A component cannot be built without the target; rustup is asked only when it is missing.
target:
	@test -d "$$(rustc --print target-libdir --target $(WASM))" || rustup target add $(WASM)

native:
	$(CARGO) build $(NATIVE)

# Sample flows, made once; a database that is there already is left alone. The checksum tells later
# whether it still holds nothing but the sample.
$(DATABASE): | native
	target/debug/flows generate --rows $(SAMPLE_ROWS) | \
	    target/debug/flows load --db $@ --index src_comp,dst_comp -
	@cksum $@ >$(SAMPLE)
