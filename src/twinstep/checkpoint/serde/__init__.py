"""The serializers under the module paths that people who move here know; they live in `twinstep.serde`."""
