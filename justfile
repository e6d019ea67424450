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

# Eight threads under chosen schedules, and a thread stopped at every step
shuttle *ARGS:
    ./ci/shuttle.sh {{ARGS}}

# Stress tests of the list and histories on stores, with random delays
stress *ARGS:
    ./ci/stress.sh {{ARGS}}

# Mixed load for some minutes, and the proof that nothing is left of it
soak *ARGS:
    ./ci/soak.sh {{ARGS}}

# A node with a journal, killed at random moments; arguments: rounds, seed
kill *ARGS:
    ./ci/kill.sh {{ARGS}}

# AddressSanitizer and LeakSanitizer over the stress tests; --all adds ThreadSanitizer
san *ARGS:
    ./ci/san.sh {{ARGS}}

# Backups, restores, prunes and ingests, killed at random moments; arguments: kills, seed
kill-backup *ARGS:
    ./ci/kill-backup.sh {{ARGS}}

# ThreadSanitizer over the stress tests, with a standard library built for it
tsan *ARGS:
    ./ci/tsan.sh {{ARGS}}

# Fuzz targets of fuzz/, for so many seconds each
fuzz *ARGS:
    ./ci/fuzz.sh {{ARGS}}

# Random damage of many bytes on backups and a journal, refused by every reader
damage *ARGS:
    ./ci/damage.sh {{ARGS}}

# The second readers of the formats on the golden files
format *ARGS:
    ./ci/format.sh {{ARGS}}

# Plants each defect and requires that a model finds it, or a reason why none does
mutants *ARGS:
    ./ci/mutants.sh {{ARGS}}


# Criterion benches, one file per crate; arguments go to criterion
bench *ARGS:
    cargo bench -p whimbrel-benches -- {{ARGS}}

# Ours beside the peers (ci/compare-deps.sh first); arguments go to the program
compare *ARGS:
    cargo run --release -p whimbrel-compare -- {{ARGS}}

# The main job on real data
tour *ARGS:
    cargo run --release -- tour {{ARGS}}

# What CI runs
ci:
    ./.ci/run
