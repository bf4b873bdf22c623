"""Remote policies: the same actions as in this process, handshake, a server's silence and death, no code in data."""

import asyncio
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from agents.adapter import Adapter, Gripper, load_adapter
from agents.flow import FlowPolicy
from agents.remote import RemoteActor, ServerError, served_spec
from agents.serve import PolicyServer
from agents.serving import load
from episodes.types import EnvSpec, Observation
from episodes.wire import pack, unpack
from tests.helpers.commands import settings_of
from tests.helpers.made_lift import SPEC, made_episode
from tests.helpers.served import FLOW, Running


@pytest.fixture(scope="module")
def policy():
    return FlowPolicy(FLOW, SPEC, seed=3).eval()


def episodes(n):
    return [made_episode(seed, T=6) for seed in range(n)]


def acted(actor, made, rounds=2):
    """Chunks of `rounds` calls, every slot asked."""
    actor.reset(np.ones(len(made), bool), np.arange(len(made)) + 40, [e.instruction for e in made])
    return [actor.act([e.observation(t) for e in made]) for t in range(rounds)]


def test_the_server_answers_what_the_policy_would_and_in_batches(policy):
    made = episodes(3)
    expected = acted(policy, made)
    server = PolicyServer(policy, port=0, slots=4)
    with Running(server) as running:
        actor = RemoteActor(running.url, SPEC, slots=3)
        found = acted(actor, made)
        assert server.largest > 1 and actor.execute == 2
        actor.close()
        again = acted(RemoteActor(running.url, SPEC, slots=1), made[2:])  # other slot, other batch, another seed
        assert not np.allclose(again[0][0], expected[0][2])
    for mine, theirs in zip(expected, found):
        assert np.allclose(mine, theirs, atol=1e-5)


def test_another_environment_is_refused_by_name(policy):
    with Running(PolicyServer(policy, port=0)) as running:
        with pytest.raises(ValueError, match=rf"policy server {running.url}: hz is"):
            RemoteActor(running.url, replace(SPEC, hz=SPEC.hz * 2))
        with pytest.raises(ValueError, match="leave the adapter out"):
            RemoteActor(running.url, GOOGLE, adapter=load_adapter("fractal"))


def test_a_bad_request_is_refused_and_the_server_goes_on(policy):
    made = episodes(1)[0]
    with Running(PolicyServer(policy, port=0)) as running:
        actor = RemoteActor(running.url, SPEC)
        seen = made.observation(0)
        actor.reset(np.array([True]), np.array([1]), [""])
        with pytest.raises(ServerError, match=r"observation/state is float32 \(2,\)"):
            actor.act([Observation(seen.images, seen.proprio[:2], "")])
        with pytest.raises(ServerError, match="expected uint8"):
            actor.reset(np.array([True]), np.array([1]), [""])
            actor.act([Observation({c: v[..., 0] for c, v in seen.images.items()}, seen.proprio, "")])
        assert acted(actor, [made])[0].shape == (1, 4, SPEC.action_dim)


def test_a_server_that_hangs_or_dies_or_is_not_there_is_an_error_of_its_own():
    async def hangs(socket):
        await socket.send(pack({}))
        await asyncio.sleep(1)

    async def dies(socket):
        await socket.send(pack({}))
        await socket.recv()
        socket.transport.abort()

    async def silent(socket):
        await asyncio.sleep(1)

    async def raises(socket):
        await socket.send(pack({}))
        await socket.recv()
        await socket.send("Traceback (most recent call last):\nKeyError: 'observation/image'")

    for handler, words in ((hangs, "no answer within 0.3 s"), (dies, "connection broke"), (raises, "KeyError")):
        with Running(handler=handler) as running:
            actor = google_actor(running, timeout=0.3)
            actor.reset(np.array([True]), np.array([1]), [""])
            with pytest.raises(ServerError, match=words):
                actor.act([google_observation()])
    with Running(handler=silent) as running, pytest.raises(ServerError, match="no metadata"):
        google_actor(running, connect_seconds=0.3)
    with pytest.raises(ServerError, match="cannot be reached"):
        google_actor(running, connect_seconds=0.3)
    with pytest.raises(ValueError, match="give ws://host:port"):
        served_spec("http://127.0.0.1:1")


def test_a_foreign_server_is_asked_in_its_own_words():
    asked = []

    async def openpi(socket):
        await socket.send(pack({"anything": 1}))
        async for data in socket:
            asked.append(unpack(data))
            chunk = np.tile(np.array([0.1, 0, 0, 0, 0, np.pi / 2, 0.0]), (4, 1))  # closes
            await socket.send(pack({"actions": chunk, "server_timing": {"infer_ms": 1.0}}))

    with Running(handler=openpi) as running:
        with pytest.raises(ValueError, match="adapter=bridge or"):
            RemoteActor(running.url, GOOGLE)
        actor = google_actor(running)
        actor.reset(np.array([True]), np.array([1]), [""])
        chunk = actor.act([google_observation()])
        actor.close()
    assert set(asked[0]) == {"observation/image", "observation/state", "prompt"}
    assert asked[0]["observation/image"].shape == (256, 320, 3) and asked[0]["prompt"] == "pick coke can"
    assert np.allclose(asked[0]["observation/state"], [0.5, 0, 1, 0, 0, 0, 1, 0.5], atol=1e-6)
    assert chunk.shape == (1, 1, 7) and np.allclose(chunk[0, 0], [0.1, 0, 0, 0, 0, np.pi / 2, 1.0])


# --- what is sent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.zeros((2, 0, 3), np.uint8), np.arange(6.0).reshape(2, 3).T, np.bool_(True)])
def test_arrays_survive(value):
    found = unpack(pack({"a": [value, "x", 1.5]}))["a"][0]
    assert found.dtype == value.dtype and np.array_equal(found, value)


def raw(dtype, data=b"12345678", shape=(1,)):
    return msgpack.packb({b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": list(shape)})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (raw("|O"), "only numbers"),
        (raw("|V8"), "only numbers"),
        (raw("O8,i4"), "dtype"),
        (raw("<f8", shape=(2,)), "does not fit"),
        (raw("<f8", shape=(-1,)), "shape"),
        (raw(b"\x80\x04"), "dtype|msgpack"),
        (b"\xc1", "msgpack"),
        (raw("<f8")[:-3], "msgpack"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(data, words):
    with pytest.raises(ValueError, match=words):
        unpack(data)


def test_objects_are_not_sent():
    with pytest.raises(ValueError, match="array of object"):
        pack({"a": np.array([object()])})
    with pytest.raises(ValueError, match="cannot send a set"):
        pack({"a": {1}})


# --- adapters -------------------------------------------------------------------------------------------------------

GOOGLE = EnvSpec(
    env_id="foresight/SimplerPickCokeCan-v0",
    cameras=("overhead_camera",),
    image_size=(64, 80),
    proprio_names=tuple(f"p{i}" for i in range(11)),
    action_names=("dx", "dy", "dz", "drx", "dry", "drz", "gripper"),
    action_low=(-1.0,) * 7,
    action_high=(1.0,) * 7,
    action_units=("m",) * 7,
    rotation="rotation_vector",
    gripper_close=1.0,
    hz=3.0,
    max_steps=80,
)


def google_actor(running, **settings):
    adapter = replace(load_adapter("fractal"), state="position_quaternion_closed", state_key="observation/state")
    return RemoteActor(running.url, GOOGLE, adapter=adapter, **settings)


def google_observation():
    proprio = np.array([0.5, 0, 1, 1, 0, 0, 0, 1, 0, 0.65, 0.65], np.float32)
    return Observation({"overhead_camera": np.zeros((64, 80, 3), np.uint8)}, proprio, "pick coke can")


@pytest.mark.parametrize("name", ["bridge", "fractal"])
@pytest.mark.parametrize("rotation", ["euler_xyz", "rotation_vector"])
def test_poses_go_there_and_back(name, rotation):
    adapter = replace(load_adapter(name), rotation=rotation)
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 7))
    own = np.concatenate([adapter.own_pose(actions), actions[:, 6:]], axis=1)
    assert np.allclose(adapter.pose(own), actions[:, :6], atol=1e-9)
    assert (rotation == "rotation_vector") == np.allclose(own[:, 3:6], actions[:, 3:6])


def test_euler_angles_turn_about_fixed_axes():
    adapter = load_adapter("bridge")
    rpy = np.array([[0, 0, 0, 0.3, -0.2, 0.5, 1.0]])
    x, y, z = (Rotation.from_euler(axis, angle) for axis, angle in zip("xyz", rpy[0, 3:6]))
    assert np.allclose(Rotation.from_rotvec(adapter.pose(rpy)[0, 3:]).as_matrix(), (z * y * x).as_matrix())


def gripped(adapter, shares):
    actions = np.zeros((len(shares), 7))
    actions[:, 6] = shares
    return Gripper(adapter).actions(actions)[:, 6].tolist()


def test_grippers():
    assert gripped(load_adapter("bridge"), [0.9, 0.4, 0.6]) == [1.0, -1.0, 1.0]
    assert gripped(replace(load_adapter("bridge"), gripper="closed_share"), [0.9, 0.4]) == [-1.0, 1.0]
    sticky = replace(load_adapter("fractal"), sticky=3)
    assert gripped(sticky, [1, 1, 0, 0.9, 1, 1, 1, 1, 1]) == [
        0,
        0,
        1,
        1,
        1,
        -1,
        -1,
        -1,
        0,
    ]  # what comes between is kept
    assert gripped(sticky, [0.8, 0.6, 0.4, 0.4]) == pytest.approx([0, 0, 0.6, 0.6])  # slow changes count
    memory = Gripper(sticky)
    first = [memory.actions(np.full((1, 7), share))[0, 6] for share in (1, 0, 0)]
    assert first == [0, 1, 1]  # one at a time is the same as a chunk
    memory.reset()
    assert memory.actions(np.ones((1, 7)))[0, 6] == 0


BOMB = "&a0 [x]"  # a list that says the one before ten times, and so on: 10^12 entries where it is written out
for _i in range(1, 13):
    BOMB = f"&a{_i} [{BOMB}{f', *a{_i - 1}' * 9}]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("robot: panda\ndraw_size: [9, 9]\nimage_size: [9, 9]\nimage_key: a", "robot='panda'"),
        ("robot: google\ndraw_size: [512]\nimage_size: [64, 64]\nimage_key: a", "draw_size"),
        ("robot: google\ndraw_size: [512, 640]\nimage_size: [4, 4]\nimage_key: a", "image_size"),
        ("robot: google\ndraw_size: [512, 640]\nimage_size: [64, 64]\nimage_key: a\nkeys: b", "no setting 'keys'"),
        ("robot: google\ndraw_size: [512, 640]\nimage_size: [64, 64]\nimage_key: a\nexecute: 0", "execute=0"),
        ("robot: google\ndraw_size: [512, 640]\nimage_size: [64, 64]\nimage_key: a\nstate_key: s", "give both"),
        ("- a", "expected settings"),
        ("a: !!python/object/apply:os.getpid []", "not a YAML"),
        ("[" * 100_000, "not a YAML"),
        (b"robot: \xff", "not a YAML"),
        ("1: 2\nx: 3", "no setting 1"),
        (f"robot: {BOMB}\ndraw_size: [9, 9]\nimage_size: [9, 9]\nimage_key: a", "robot is"),
        (f"robot: {[0] * 1000}\ndraw_size: [9, 9]\nimage_size: [9, 9]\nimage_key: a", "robot is"),
    ],
)
def test_bad_adapters_are_refused(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=words) as refused:
        load_adapter(str(path))
    assert len(str(refused.value)) < 500 and "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="choose bridge, fractal"):
        load_adapter("droid")


def test_states():
    adapter, seen = load_adapter("fractal"), google_observation()
    assert set(adapter.request(seen, GOOGLE)) == {"observation/image", "prompt"}
    bridge = replace(load_adapter("bridge"), state="position_euler_open", state_key="s")
    turned = Rotation.from_euler("xyz", [0.1, 0.2, 0.3]).as_matrix()
    proprio = np.array([0.1, 0.2, 0.3, *turned[:, 0], *turned[:, 1], 0.0315, 0.0315], np.float32)
    assert np.allclose(bridge.state_of(proprio), [0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.75], atol=1e-5)  # m, rad, open share


def test_an_adapter_is_for_one_robot():
    with pytest.raises(ValueError, match="made for the widowx robot"):
        load_adapter("bridge").check(GOOGLE)
    assert isinstance(load_adapter("bridge"), Adapter)


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_token_and_the_guidance_are_settings(policy, tmp_path):
    policy.save(tmp_path / "p")
    served = load(settings_of("serve", f"policy={tmp_path / 'p'}", "indicator=positive", "guidance=1.5"))
    assert (served.indicator, served.guidance) == (1, 1.5)
    own = load(settings_of("serve", f"policy={tmp_path / 'p'}"))
    assert (own.indicator, own.guidance) == (policy.indicator, policy.guidance)
    for word, named in (
        ("port=99999", "port"),
        ("indicator=good", "indicator"),
        ("prot=1", "did you mean port"),
    ):
        with pytest.raises(ValueError, match=named):
            settings_of("serve", word)
