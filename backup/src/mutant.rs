//! Defects that modelled builds can contain, so that each model is seen to fail.
//!
//! In ordinary builds [`planted`] is a constant `false` and nothing of this is left.

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A defect that the models must find; docs/ordering.md names the model that finds each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(
            not(whimbrel_loom),
            expect(
                unreachable_pub,
                reason = "models of another crate choose one; others see nothing of it"
            )
        )]
        #[non_exhaustive]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)+
        }

        #[cfg(whimbrel_loom)]
        impl Mutant {
            /// The defect of this name.
            #[must_use]
            pub fn by_name(name: &str) -> Option<Self> {
                [$(Self::$name),+].into_iter().find(|mutant| format!("{mutant:?}") == name)
            }
        }
    };
}

mutants! {
    /// A snapshot becomes the base although the capture may not have heard of all that it lacks (T1).
    SinceIgnored,
    /// The capture is drained while operations that the new snapshot sees are inside (T2).
    CollectedNotAwaited,
    /// What was drained for a backup is forgotten with it, whether its snapshot sees it or not (T3).
    LateForgotten,
    /// A backup with an older snapshot than the last drain forgets what was drained (T3).
    DrainedAtIgnored,
}

/// Whether this defect was planted.
#[cfg(not(whimbrel_loom))]
#[inline(always)]
pub(crate) const fn planted(_: Mutant) -> bool {
    false
}

#[cfg(whimbrel_loom)]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether this defect was chosen. Loom runs all threads of a model on one system thread.
#[cfg(whimbrel_loom)]
pub(crate) fn planted(mutant: Mutant) -> bool {
    PLANTED.get() == Some(mutant)
}

/// Chooses the defect that the code contains from now on.
#[cfg(whimbrel_loom)]
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}
