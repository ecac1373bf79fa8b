"""The example site as its operators' desk: under a strict security policy, plain or in Unfold's clothes."""
