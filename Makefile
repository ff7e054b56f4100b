# `make check` is what continuous integration runs: everything below, in this order.
.PHONY: check format lint docs licences test sanitize fuzz
check: format lint docs licences test sanitize fuzz

format:
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --manifest-path fuzz/Cargo.toml --all-targets --locked -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Installed on first use; advisories are not checked, because they would need a network at every run.
licences:
	command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
	cargo deny --all-features check bans licenses sources

test:
	cargo test --workspace --locked
	cargo test --release --manifest-path fuzz/Cargo.toml --locked

# The kernels under the address sanitizer, which stable compilers have behind this switch.
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
sanitize:
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test -p featvec-kernels --test kernels --locked \
		--target $(HOST) --target-dir target/sanitize

# Not part of `check`: featvec, ONNX Runtime and OpenVINO in turns, on a quiet machine; writes the tables of
# docs/performance.md and README.md. It installs the peers from PyPI into target/peers. PHOTOS is a folder of JPEGs.
.PHONY: bench-peers
MODULE ?= ../shared/reference/feature_vector.tar.gz
bench-peers:
	cargo build --release --locked
	python3 tools/peers/run.py --module $(MODULE) $(if $(PHOTOS),--photos $(PHOTOS))

# Not part of `check` either: a step of training of featvec, TensorFlow and PyTorch in turns.
.PHONY: bench-train-peers
bench-train-peers:
	cargo build --release --locked
	python3 tools/peers/train.py --module $(MODULE)

# And collections: featvec embed and TensorFlow's tf.data in turns, and how well decoding and network overlap.
.PHONY: bench-collection-peers
bench-collection-peers:
	cargo build --release --locked
	cargo bench -p featvec-collections --locked -- $(MODULE) $(or $(PHOTOS),examples/photos)
	python3 tools/peers/collection.py --module $(MODULE) --photos $(or $(PHOTOS),../shared/photos)

# A quarter of a minute of mutated inputs for each reader, as often as anything changes.
FUZZ_SECONDS ?= 15
fuzz:
	cargo run --release --locked --manifest-path fuzz/Cargo.toml -- --seconds $(FUZZ_SECONDS)
