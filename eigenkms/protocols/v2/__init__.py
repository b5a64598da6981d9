"""Protocol 2: sessions over publicly verifiable dealings; not spoken by nodes yet."""
