//! Writing the trust policy that is right, and merging it into one that exists.
