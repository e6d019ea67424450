# The same scripts that CI runs. `just --list` names them.

# Format, lints, docs
check:
    ./ci/check.sh

# All tests, with the fast loom set
test:
    ./ci/test.sh

# Loom models; arguments select by name
loom *ARGS:
    ./ci/loom.sh {{ARGS}}

# Plants each defect and requires that a model finds it, or a reason why none does
mutants *ARGS:
    ./ci/mutants.sh {{ARGS}}

# AddressSanitizer and LeakSanitizer over the stress tests
san:
    ./ci/san.sh

# Criterion benches, one file per crate; arguments go to criterion
bench *ARGS:
    cargo bench -p whimbrel-benches -- {{ARGS}}

# The main job on real data
tour *ARGS:
    cargo run --release -- tour {{ARGS}}

# What CI runs
ci:
    ./.ci/run
