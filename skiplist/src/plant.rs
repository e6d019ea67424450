//! Hooks for defects that modelled builds can contain; nothing is left of them in any other build.

/// Whether the defect of this name is planted; `false` outside of models.
macro_rules! planted {
    ($name:ident) => {{
        #[cfg(whimbrel_loom)]
        {
            $crate::model::planted($crate::model::Mutant::$name)
        }
        #[cfg(not(whimbrel_loom))]
        {
            false
        }
    }};
}

/// An ordering, or `Relaxed` where the defect of this name is planted.
macro_rules! ordering {
    ($ordering:ident, $name:ident) => {
        if $crate::plant::planted!($name) { Ordering::Relaxed } else { Ordering::$ordering }
    };
}

pub(crate) use {ordering, planted};
