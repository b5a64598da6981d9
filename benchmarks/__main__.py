"""All benchmarks, one after another: ``python -m benchmarks``. Minutes; leave the machine alone meanwhile."""

from benchmarks import crypto_primitives, dealings, network, releases, serving, simulated

if __name__ == "__main__":
    crypto_primitives.main()
    dealings.main([])
    network.main(["genesis"])
    network.main(["rotation"])
    simulated.main([])
    releases.main([])
    serving.main([])
