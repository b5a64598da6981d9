"""Gossip among admitted peers: what is published arrives, and nothing else does."""

import pytest
import trio
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX
from libp2p.utils.varint import encode_varint_prefixed

from eigenkms.errors import InputError
from eigenkms.p2p.gossip import Subscription
from eigenkms.p2p.host import GOSSIP, GossipMessage, Host, Limits, open_host
from eigenkms.p2p.identity import PeerId, PeerKey
from eigenkms.p2p.limits import GossipLimits
from tests.p2p.support import (
    ANYWHERE,
    ECHO,
    TOPIC,
    echo,
    gossiping,
    introduce,
    keys,
    link,
    serves_an_honest_client,
)
from tests.support.p2p_attackers import RawPeer, raw_peer
from tests.support.waiting import PATIENCE, eventually

MENDING = Limits(gossip=GossipLimits(upkeep=0.1))


def everything(_origin: PeerId, _data: bytes) -> bool:
    """A validator that takes all."""
    return True


async def receive(channel: Subscription, n: int) -> list[GossipMessage]:
    """The next ``n`` messages."""
    with trio.fail_after(PATIENCE):
        return [await channel.receive() for _ in range(n)]


async def test_a_hundred_messages_in_a_row_all_arrive() -> None:
    """None is lost to a rate limit, a queue or a channel, and each names its origin."""
    a_key, b_key = keys(2)
    async with (
        open_host(a_key, listen=[ANYWHERE], topics=[TOPIC]) as a,
        open_host(b_key, listen=[ANYWHERE], topics=[TOPIC]) as b,
    ):
        a.subscribe(TOPIC, everything)
        inbox = b.subscribe(TOPIC, everything)
        await link(a, b)
        await gossiping(a, b)
        for i in range(100):
            await a.publish(TOPIC, b"%d" % i + bytes(4000))

        got = await receive(inbox, 100)

        assert {message.data.rstrip(b"\0") for message in got} == {b"%d" % i for i in range(100)}
        assert {(message.origin, message.forwarder) for message in got} == {(a.peer_id, a.peer_id)}
        assert a.statistics().gossip.published == b.statistics().gossip.received == 100


async def test_a_message_travels_over_a_peer_that_both_know() -> None:
    """Origin and forwarder are told apart, and the publisher does not hear itself."""
    first, middle, last = keys(3)
    async with (
        open_host(first, listen=[ANYWHERE], topics=[TOPIC]) as a,
        open_host(middle, listen=[ANYWHERE], topics=[TOPIC]) as b,
        open_host(last, listen=[ANYWHERE], topics=[TOPIC]) as c,
    ):
        own = a.subscribe(TOPIC, everything)
        b.subscribe(TOPIC, everything)
        inbox = c.subscribe(TOPIC, everything)
        await link(a, b)
        await link(c, b)
        await a.publish(TOPIC, b"over b")

        (message,) = await receive(inbox, 1)

        assert message == GossipMessage(a.peer_id, b.peer_id, b"over b")
        assert len(own) == 0


async def test_what_a_validator_made_of_a_message_goes_with_it() -> None:
    """It is called once for each, and whoever listens need not read the bytes again."""
    a_key, b_key = keys(2)
    async with (
        open_host(a_key, listen=[ANYWHERE], topics=[TOPIC]) as a,
        open_host(b_key, listen=[ANYWHERE], topics=[TOPIC]) as b,
    ):
        asked = list[bytes]()

        def read(_origin: PeerId, data: bytes) -> int | None:
            asked.append(data)
            return int(data) if data.isdigit() else None

        a.subscribe(TOPIC, everything)
        inbox = b.subscribe(TOPIC, read)
        await link(a, b)
        await gossiping(a, b)
        said = [b"1", b"one", b"2"]
        for data in said:
            await a.publish(TOPIC, data)

        got = await receive(inbox, 2)

        assert sorted((message.data, message.content) for message in got) == [(b"1", 1), (b"2", 2)]
        await eventually(lambda: sorted(asked) == sorted(said))
        assert b.statistics().gossip.refused == 1


async def test_a_message_published_before_the_peers_meet_arrives() -> None:
    """Whoever subscribes is given what the mesh still holds of the last half minute."""
    a_key, b_key = keys(2)
    async with open_host(a_key, listen=[ANYWHERE], topics=[TOPIC]) as a:
        a.subscribe(TOPIC, everything)
        for i in range(5):
            await a.publish(TOPIC, b"early %d" % i)
        async with open_host(b_key, listen=[ANYWHERE], topics=[TOPIC]) as b:
            await link(a, b)
            await gossiping(a, b)
            inbox = b.subscribe(TOPIC, everything)
            assert {each.data for each in await receive(inbox, 5)} == {b"early %d" % i for i in range(5)}


async def test_a_quick_restart_loses_nothing() -> None:
    """Messages of the second run are not taken for those of the first."""
    a_key, b_key = keys(2)
    async with open_host(b_key, listen=[ANYWHERE], topics=[TOPIC]) as b:
        inbox = b.subscribe(TOPIC, everything)
        for run in range(3):
            async with open_host(a_key, listen=[ANYWHERE], topics=[TOPIC]) as a:
                a.subscribe(TOPIC, everything)
                await link(a, b)
                await gossiping(a, b)
                for i in range(20):
                    await a.publish(TOPIC, b"%d/%d" % (run, i))
                got = await receive(inbox, 20)
                assert {each.data for each in got} == {b"%d/%d" % (run, i) for i in range(20)}
                a.keep_connected(set())
            b.keep_connected(set())
            await eventually(lambda: not b.connected())


async def test_a_broken_gossip_stream_is_mended() -> None:
    """When the stream to a peer dies and the connection lives, messages arrive again and none is forgotten for good."""
    a_key, b_key = keys(2)
    async with (
        open_host(a_key, listen=[ANYWHERE], topics=[TOPIC]) as a,
        open_host(b_key, listen=[ANYWHERE], topics=[TOPIC]) as b,
    ):
        a.subscribe(TOPIC, everything)
        inbox = b.subscribe(TOPIC, everything)
        await link(a, b)
        await gossiping(a, b)
        (stream,) = a._gossip._pubsub.peers.values()
        await stream.reset()
        await a.publish(TOPIC, b"lost or replayed")
        await eventually(lambda: list(a._gossip._pubsub.peers.values()) not in ([], [stream]))
        await a.publish(TOPIC, b"after")

        with trio.fail_after(PATIENCE):
            while (await inbox.receive()).data != b"after":
                pass


async def test_the_largest_message_arrives_and_a_larger_one_is_an_error() -> None:
    """256 KiB pass; one byte more is refused to the publisher, not lost on the way."""
    a_key, b_key = keys(2)
    async with (
        open_host(a_key, listen=[ANYWHERE], topics=[TOPIC]) as a,
        open_host(b_key, listen=[ANYWHERE], topics=[TOPIC]) as b,
    ):
        a.subscribe(TOPIC, everything)
        inbox = b.subscribe(TOPIC, everything)
        await link(a, b)
        await gossiping(a, b)
        with pytest.raises(InputError, match="over the limit"):
            await a.publish(TOPIC, bytes((256 << 10) + 1))
        for _ in range(10):
            await a.publish(TOPIC, bytes(256 << 10))

        assert [len(each.data) for each in await receive(inbox, 10)] == [256 << 10] * 10


async def test_only_topics_of_the_host_exist() -> None:
    """An unknown topic is an input error, as is a second subscription."""
    async with open_host(PeerKey.generate(), topics=[TOPIC]) as host:
        with pytest.raises(InputError, match="not opened with that topic"):
            await host.publish("other", b"")
        with pytest.raises(InputError, match="not opened with that topic"):
            host.subscribe("other", everything)
        host.subscribe(TOPIC, everything)
        with pytest.raises(InputError, match="subscribed already"):
            host.subscribe(TOPIC, everything)
    async with open_host(PeerKey.generate()) as host:
        with pytest.raises(InputError, match="not opened with that topic"):
            await host.publish(TOPIC, b"")


async def test_a_validator_decides_and_a_broken_one_refuses(caplog: pytest.LogCaptureFixture) -> None:
    """Refused messages are counted and go no further; one that raises costs a line in the log."""

    def picky(_origin: PeerId, data: bytes) -> bool:
        if data == b"boom":
            raise ZeroDivisionError
        return data != b"bad"

    a_key, b_key = keys(2)
    async with (
        open_host(a_key, listen=[ANYWHERE], topics=[TOPIC]) as a,
        open_host(b_key, listen=[ANYWHERE], topics=[TOPIC]) as b,
    ):
        a.subscribe(TOPIC, everything)
        inbox = b.subscribe(TOPIC, picky)
        await link(a, b)
        await gossiping(a, b)
        for data in (b"bad", b"boom", b"good"):
            await a.publish(TOPIC, data)

        assert [each.data for each in await receive(inbox, 1)] == [b"good"]
        assert b.statistics().gossip.refused >= 2
        assert b.statistics().gossip.received == 1
    assert "validator of" in caplog.text


async def test_a_subscriber_that_sleeps_costs_the_newest_messages_and_they_are_counted() -> None:
    """A full subscription holds nothing up."""
    a_key, b_key = keys(2)
    async with (
        open_host(a_key, listen=[ANYWHERE], topics=[TOPIC]) as a,
        open_host(
            b_key, listen=[ANYWHERE], topics=[TOPIC], limits=Limits(gossip=GossipLimits(subscription=10))
        ) as b,
    ):
        a.subscribe(TOPIC, everything)
        inbox = b.subscribe(TOPIC, everything)
        await link(a, b)
        await gossiping(a, b)
        for i in range(15):
            await a.publish(TOPIC, b"%d" % i)
        await eventually(lambda: b.statistics().gossip.received == 15)

        assert b.statistics().gossip.dropped == 5
        assert [each.data for each in await receive(inbox, 10)] == [b"%d" % i for i in range(10)]


async def test_one_origin_fills_its_own_part_of_a_subscription() -> None:
    """Its bytes are bounded, and those of others find room; what was taken makes room."""
    loud, quiet = (key.peer_id for key in keys(2))
    inbox = Subscription(1000, 10_000)
    messages = [GossipMessage(loud, loud, bytes(2000)) for _ in range(9)]
    assert [inbox.put(each) for each in messages].count(True) == 3
    assert inbox.put(GossipMessage(quiet, loud, b"x"))
    assert (await inbox.receive()).origin == loud
    assert inbox.put(messages[0])
    inbox.close()
    assert [each.origin async for each in inbox] == [loud, loud, quiet, loud]
    assert not inbox.put(messages[0])


async def test_gossip_runs_only_among_admitted_peers_and_follows_the_gate() -> None:
    """A stranger gets no stream, an admitted peer gets one within seconds, and loses it when it is shut out again."""
    operators: set[PeerId] = set()

    def gate(peer: PeerId, protocol: str) -> bool:
        return protocol != GOSSIP or peer in operators

    a_key, b_key = keys(2)
    async with (
        open_host(a_key, listen=[ANYWHERE], topics=[TOPIC], gate=gate, limits=MENDING) as a,
        open_host(b_key, listen=[ANYWHERE], topics=[TOPIC], limits=MENDING) as b,
    ):
        inbox = a.subscribe(TOPIC, everything)
        b.subscribe(TOPIC, everything)
        await link(a, b)
        await eventually(lambda: a.statistics().gated_streams > 0)
        assert a.statistics().gossip.peers == 0

        operators.add(b.peer_id)
        await gossiping(a, b)
        await b.publish(TOPIC, b"admitted")
        assert [each.data for each in await receive(inbox, 1)] == [b"admitted"]

        operators.clear()
        await b.publish(TOPIC, b"shut out")
        await eventually(lambda: a.statistics().gossip.peers == 0)
        assert a.statistics().gossip.received == 1


async def test_four_hosts_hear_each_other() -> None:
    """A burst in which everybody publishes at once reaches everybody."""
    hosts: list[Host] = []

    async def run(index: int, key: PeerKey) -> None:
        async with open_host(key, listen=[ANYWHERE], topics=[TOPIC]) as host:
            hosts.append(host)
            inbox = host.subscribe(TOPIC, everything)
            await eventually(lambda: len(hosts) == 4)
            await link(host, *(other for other in hosts if other is not host))
            await eventually(lambda: host.statistics().gossip.peers == 3)
            for i in range(10):
                await host.publish(TOPIC, b"%d/%d" % (index, i))
            got = {each.data for each in await receive(inbox, 30)}
            assert got == {b"%d/%d" % (j, i) for j in range(4) for i in range(10) if j != index}
            done.append(index)
            await eventually(lambda: len(done) == 4)

    done: list[int] = []
    async with trio.open_nursery() as nursery:
        for index, key in enumerate(keys(4)):
            nursery.start_soon(run, index, key)


# ----- an admitted peer that does not play by the rules


def signed(
    key: PeerKey, *, seqno: int = 1, topics: tuple[str, ...] = (TOPIC,), data: bytes = b"x"
) -> rpc_pb2.Message:
    """A gossip message as its origin would sign it."""
    pair = create_new_key_pair(key.secret)
    message = rpc_pb2.Message(
        data=data, topicIDs=topics, from_id=key.peer_id.raw, seqno=seqno.to_bytes(8, "big")
    )
    message.signature = pair.private_key.sign(PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString())
    message.key = pair.public_key.serialize()
    return message


async def say(peer: RawPeer, stream: int, rpc: rpc_pb2.RPC | bytes) -> None:
    """Send an RPC, or bytes that are none, on a gossip stream."""
    raw = rpc if isinstance(rpc, bytes) else encode_varint_prefixed(rpc.SerializeToString())
    await peer.data(stream, raw)


def spoilt(message: rpc_pb2.Message, **fields: object) -> rpc_pb2.Message:
    """A message with some fields changed after it was signed."""
    copy = rpc_pb2.Message()
    copy.CopyFrom(message)
    for name, value in fields.items():
        setattr(copy, name, value)
    return copy


def crafted(key: PeerKey, victim: PeerId) -> list[rpc_pb2.RPC]:
    """RPCs that are well-formed and wrong."""
    good = signed(key)
    messages = [
        spoilt(good, signature=b"\x00" * 70),
        spoilt(good, signature=b""),
        spoilt(good, data=b"other"),
        spoilt(good, from_id=b""),
        spoilt(good, from_id=b"\x00"),
        spoilt(good, from_id=b"\xff" * 64),
        spoilt(good, from_id=b"\xff" * 6000),
        spoilt(good, from_id=victim.raw),
        spoilt(good, seqno=b""),
        spoilt(good, seqno=b"\xff" * 4000),
        spoilt(good, from_id=b"\x12\x20" + b"\xaa" * 32, key=b"\x08\x01\x12\x03abc"),
        signed(key, topics=()),
        signed(key, topics=(TOPIC, TOPIC)),
        signed(key, topics=("other",)),
        signed(PeerKey.generate()),
    ]
    control = rpc_pb2.ControlMessage()
    control.graft.append(rpc_pb2.ControlGraft(topicID="no such topic"))
    control.prune.append(rpc_pb2.ControlPrune(topicID="no such topic", backoff=2**63))
    control.ihave.append(rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=[b"\xff", b"", b"abc"]))
    control.iwant.append(rpc_pb2.ControlIWant(messageIDs=[b"\xff", b"zz", b""]))
    control.idontwant.append(rpc_pb2.ControlIDontWant(messageIDs=[b"\xff" * 100]))
    subscriptions = [rpc_pb2.RPC.SubOpts(subscribe=i % 2 == 0, topicid=f"t{i}") for i in range(60)]
    return [
        *(rpc_pb2.RPC(publish=[message]) for message in messages),
        rpc_pb2.RPC(publish=messages),
        rpc_pb2.RPC(control=control),
        rpc_pb2.RPC(subscriptions=subscriptions),
        rpc_pb2.RPC(senderRecord=b"\xff" * 100, control=control),
        rpc_pb2.RPC(),
    ]


BROKEN = [
    encode_varint_prefixed(b"\xff" * 50),
    encode_varint_prefixed(b"\x0a\xff\xff\xff\xff\x0f"),
    b"\xff" * 11,
    b"\xff\xff\xff\xff\x07",
    encode_varint_prefixed(
        rpc_pb2.RPC(
            subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid="t")] * 5000
        ).SerializeToString()
    ),
    encode_varint_prefixed(
        rpc_pb2.RPC(
            control=rpc_pb2.ControlMessage(iwant=[rpc_pb2.ControlIWant(messageIDs=[b"x"] * 6000)])
        ).SerializeToString()
    ),
]


async def test_crafted_gossip_of_an_admitted_peer_ends_nothing_and_delivers_nothing() -> None:
    """Wrong signatures, keys, names, topics and control messages: each is dropped, then a good message still arrives."""
    attacker_key = PeerKey.generate()
    async with open_host(
        PeerKey.generate(),
        listen=[ANYWHERE],
        topics=[TOPIC],
        gate=lambda p, proto: proto == ECHO or p == attacker_key.peer_id,
    ) as server:
        server.serve(ECHO, echo)
        inbox = server.subscribe(TOPIC, everything)
        async with raw_peer(server.addresses[0], attacker_key) as attacker:
            stream = await attacker.open(GOSSIP)
            for rpc in crafted(attacker_key, server.peer_id):
                await say(attacker, stream, rpc)
            await say(attacker, stream, rpc_pb2.RPC(publish=[signed(attacker_key, seqno=2, data=b"good")]))

            assert [each.data for each in await receive(inbox, 1)] == [b"good"]
            assert server.statistics().gossip.received == 1
        await serves_an_honest_client(server)


async def test_broken_gossip_costs_its_stream_and_no_more() -> None:
    """Garbage, oversize lengths and lists without end reset the stream; the host serves on."""
    attacker_key = PeerKey.generate()
    async with open_host(PeerKey.generate(), listen=[ANYWHERE], topics=[TOPIC]) as server:
        server.serve(ECHO, echo)
        inbox = server.subscribe(TOPIC, everything)
        async with raw_peer(server.addresses[0], attacker_key) as attacker:
            for raw in BROKEN:
                await say(attacker, await attacker.open(GOSSIP), raw)
            await eventually(lambda: server.statistics().bad_streams >= len(BROKEN))
            stream = await attacker.open(GOSSIP)
            await say(attacker, stream, rpc_pb2.RPC(publish=[signed(attacker_key, data=b"good")]))
            assert [each.data for each in await receive(inbox, 1)] == [b"good"]
        await serves_an_honest_client(server)


async def test_mutated_gossip_ends_nothing() -> None:
    """Six hundred RPCs with a flipped byte each, many to a stream."""
    attacker_key = PeerKey.generate()
    raw = rpc_pb2.RPC(
        publish=[signed(attacker_key)],
        subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=TOPIC)],
        control=rpc_pb2.ControlMessage(graft=[rpc_pb2.ControlGraft(topicID=TOPIC)]),
    ).SerializeToString()
    async with open_host(PeerKey.generate(), listen=[ANYWHERE], topics=[TOPIC]) as server:
        server.serve(ECHO, echo)
        server.subscribe(TOPIC, everything)
        async with raw_peer(server.addresses[0], attacker_key) as attacker:
            for i in range(60):
                stream = await attacker.open(GOSSIP)
                for j in range(10):
                    at = (i * 10 + j) % len(raw)
                    mutated = raw[:at] + bytes([raw[at] ^ (1 << (i % 8))]) + raw[at + 1 :]
                    await say(attacker, stream, encode_varint_prefixed(mutated))
                await attacker.frame(1, 4, stream, 0)
        await serves_an_honest_client(server)


async def test_a_stranger_has_no_gossip_stream() -> None:
    """A peer that the gate does not admit is cut off before its first RPC is read."""
    stranger = PeerKey.generate()
    async with open_host(
        PeerKey.generate(), listen=[ANYWHERE], topics=[TOPIC], gate=lambda _, proto: proto == ECHO
    ) as server:
        inbox = server.subscribe(TOPIC, everything)
        async with raw_peer(server.addresses[0], stranger) as attacker:
            stream = await attacker.open(GOSSIP)
            await say(attacker, stream, rpc_pb2.RPC(publish=[signed(stranger)]))
            await eventually(lambda: server.statistics().gated_streams == 1)

        assert server.statistics().gossip.received == 0
        assert len(inbox) == 0


async def test_an_admitted_peer_cannot_speak_for_a_stranger_nor_for_us() -> None:
    """The origin of a message must be admitted too, and is never the receiver itself."""
    member, stranger, server_key = PeerKey.generate(), PeerKey.generate(), PeerKey.generate()
    async with open_host(
        server_key, listen=[ANYWHERE], topics=[TOPIC], gate=lambda p, _: p == member.peer_id
    ) as server:
        inbox = server.subscribe(TOPIC, everything)
        async with raw_peer(server.addresses[0], member) as attacker:
            stream = await attacker.open(GOSSIP)
            for key in (stranger, server_key, member):
                await say(attacker, stream, rpc_pb2.RPC(publish=[signed(key)]))

            assert [each.origin for each in await receive(inbox, 1)] == [member.peer_id]
        assert server.statistics().gossip.received == 1


async def test_the_address_book_hears_nothing_from_gossip() -> None:
    """Signed peer records inside RPCs are dropped unread."""
    attacker_key, server_key = keys(2)
    async with (
        open_host(server_key, listen=[ANYWHERE], topics=[TOPIC]) as server,
        open_host(attacker_key) as client,
    ):
        introduce(client, server)
        client.keep_connected({server.peer_id})
        await server.wait_connected(attacker_key.peer_id, PATIENCE)
        known = server._libp2p.get_peerstore().peer_ids()

        assert [peer.to_bytes() for peer in known] == [server.peer_id.raw]
