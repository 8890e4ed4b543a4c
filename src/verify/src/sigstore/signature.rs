//! The judgement of one signature under the terms of an authority.
