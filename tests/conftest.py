import zlib, jax, pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", "/tmp/jaxcache")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture
def key(request):
    return jax.random.key(zlib.crc32(request.node.nodeid.encode()))
