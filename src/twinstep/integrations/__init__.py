"""What twinstep does for other libraries; each module is loaded only in programs that use the library."""
