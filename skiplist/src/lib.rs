//! Lock-free ordered list of byte keys with an access barrier and a linear-time segment builder.
