"""Methods that prove the right to an application's key, behind one interface."""
