"""Mutants that change nothing that a test could see, each with the reason: path, old line, new line."""

EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "masks/face_difference.py",
        "kind = cv2.INTER_AREA if square.shape[0] > GRID else cv2.INTER_LINEAR",
        "kind = cv2.INTER_AREA if square.shape[1] > GRID else cv2.INTER_LINEAR",
    ): "its sides are equal",
    (
        "pipeline/decode/probe.py",
        'size = int.from_bytes(head[start : start + length], "big") & ((1 << 7 * length) - 1)',
        "size = int.from_bytes(head[start : start + length], ) & ((1 << 7 * length) - 1)",
    ): "big-endian is Python's default",
    (
        "pipeline/tracking/rejoin.py",
        'groups = fcluster(linkage(squareform(cost, checks=False), "average"), SAME, "distance")',
        'groups = fcluster(linkage(squareform(cost, checks=True), "average"), SAME, "distance")',
    ): "the matrix passes the checks",
    (
        "masks/block_match.py",
        "fits = np.log(squares, out=squares).mean(axis=0) * np.float32(weight)  # [k, n]",
        "fits = np.log(squares, out=None).mean(axis=0) * np.float32(weight)  # [k, n]",
    ): "the same numbers in other memory",
    (
        "masks/block_match.py",
        "extra_cost = through - through.min(axis=1, keepdims=True)",
        "extra_cost = through - through.min(keepdims=True)",
    ): "the best path passes through each row, so that all rows have the same minimum",
    (
        "masks/alignment.py",
        "if (self.gain, self.level) != (1, 0):",
        "if (self.gain, self.level) != (1, 1):",
    ): "spares a multiplication by one; no fit gives exactly one and one",
    (
        "masks/forgery.py",
        "sums = [near @ np.sum(one, axis=(1, 2), where=free, dtype=np.float64) for one in (energy, coarse)]",
        "sums = [near @ np.sum(one, axis=(1, 2), where=free, ) for one in (energy, coarse)]",
    ): "sums of some thousand numbers, which NumPy adds in pairs",
    (
        "masks/block_match.py",
        "chunk = int(np.clip(2 * reach / spacing, 4, CHUNK))",
        "chunk = None",
    ): "the same costs, frame by frame, which takes longer",
    (
        "masks/alignment.py",
        "if frames.shape[1:] == shape:",
        "if frames.shape[2:] == shape:",
    ): "thumbnails of the right size are resized to it, which copies them",
    (
        "pipeline/data/augment.py",
        "return (images + (covariance @ amounts[..., None])[..., None]).clamp(0, 1)",
        "return (images - (covariance @ amounts[..., None])[..., None]).clamp(0, 1)",
    ): "the amounts are normal, and so as likely as their opposites",
    (
        "pipeline/data/augment.py",
        "lambda x, std: x + torch.randn(x.shape, generator=noise, device=x.device) * std[:, None, None, None],",
        "lambda x, std: x + torch.randn(x.shape, generator=noise, device=None) * std[:, None, None, None],",
    ): "the CPU is the default device; tests on a GPU see it",
    (
        "pipeline/clips/items.py",
        "return Thumbnails("
        "np.stack([self.thumbnails[i] for i in order]), np.array(order, np.int64), self.reader.times)",
        "return Thumbnails(np.stack([self.thumbnails[i] for i in order]), np.array(order, ), self.reader.times)",
    ): "int64 is the default on 64-bit systems",
    (
        "pipeline/tracking/cuts.py",
        "(likeness, coming), (other, going) = "
        "(_displaced(thumbnails[middle + k], thumbnails[middle]) for k in (-PAN, PAN))",
        "(likeness, coming), (other, going) = "
        "(_displaced(thumbnails[middle - k], thumbnails[middle]) for k in (-PAN, PAN))",
    ): "what comes and what goes are treated alike",
    (
        "masks/pair_times.py",
        "return np.full(len(real_times), -1, np.int64)",
        "return np.full(len(real_times), -1, None)",
    ): "int64 is the default on 64-bit systems",
    (
        "masks/face_difference.py",
        "while square.shape[0] >= 2 * GRID and square.shape[0] % 2 == 0:"
        "  # halving is many times faster than other areas",
        "while square.shape[0] > 2 * GRID and square.shape[0] % 2 == 0:"
        "  # halving is many times faster than other areas",
    ): "the last halving is done below, as the mean of the same pixels",
    (
        "masks/face_difference.py",
        "rows = slice(max(int((y1 - grow) // stride), 0), max(int((y2 + grow) // stride) + 1, 0))",
        "rows = slice(max(int((y1 - grow) / stride), 0), max(int((y2 + grow) // stride) + 1, 0))",
    ): "rounded down and towards 0 differ below 0 only, which becomes 0",
    (
        "masks/alignment.py",
        "forged = split_blocks(fake.frames, np.ones(len(fake.frames), bool))",
        "forged = split_blocks(fake.frames, np.ones(len(fake.frames), None))",
    ): "ones count as true",
    (
        "pipeline/data/overlap.py",
        "videos = pq.read_table(root / VIDEOS_FILE, columns=_HASHES.names).select(_HASHES.names).cast(_HASHES)",
        "videos = pq.read_table(root / VIDEOS_FILE, columns=None).select(_HASHES.names).cast(_HASHES)",
    ): "the other columns are read for nothing",
    (
        "pipeline/build/merge.py",
        'yield file.read_row_group(number, columns=["split", "method", "video_id"])',
        "yield file.read_row_group(number, )",
    ): "the other columns are read for nothing",
    (
        "pipeline/data/face_masks.py",
        'return F.interpolate(masks, (side, side), mode="bilinear", align_corners=False).clamp_(0, 1)',
        'return F.interpolate(masks, (side, side), mode="bilinear", ).clamp_(0, 1)',
    ): "the default",
    (
        "masks/face_difference.py",
        "return np.asarray(cv2.resize(samples, self._size, interpolation=cv2.INTER_AREA)[self._free], np.uint8)",
        "return np.asarray(cv2.resize(samples, self._size, interpolation=cv2.INTER_AREA)[self._free], None)",
    ): "they are bytes already",
    (
        "masks/block_match.py",
        'pixels = tiles.astype(np.float32, order="C").reshape(rows * columns, len(frames), side * side)',
        "pixels = tiles.astype(np.float32, order=None).reshape(rows * columns, len(frames), side * side)",
    ): "the same numbers, which `reshape` brings into that order",
    (
        "masks/block_match.py",
        'pixels = tiles.astype(np.float32, order="C").reshape(rows * columns, len(frames), side * side)',
        "pixels = tiles.astype(np.float32, ).reshape(rows * columns, len(frames), side * side)",
    ): "the same numbers, which `reshape` brings into that order",
    (
        "masks/block_match.py",
        'pixels = tiles.astype(np.float32, order="C").reshape(rows * columns, len(frames), side * side)',
        'pixels = tiles.astype(np.float32, order="c").reshape(rows * columns, len(frames), side * side)',
    ): "NumPy takes both",
    (
        "masks/face_difference.py",
        "for tolerance in (1e3, 4.0, 3.0):  # times the median residual",
        "for tolerance in (1001.0, 4.0, 3.0):  # times the median residual",
    ): "either takes all blocks at first: gray levels end at 255",
    (
        "manifests/records.py",
        "retryable: bool = False",
        "retryable: bool = True",
    ): "always derived from the reason",
    (
        "manifests/records.py",
        "retryable: bool = False",
        "retryable: bool = None",
    ): "always derived from the reason",
    (
        "pipeline/data/places.py",
        "pa.StructArray.from_arrays(list(found[name].T), fields=list(PLACE), mask=pa.array(found[name][:, 1] < 0))",
        "pa.StructArray.from_arrays(list(found[name].T), fields=list(PLACE), mask=pa.array(found[name][:, 1] <= 0))",
    ): "no image has no bytes",
    (
        "pipeline/data/places.py",
        "pa.StructArray.from_arrays(list(found[name].T), fields=list(PLACE), mask=pa.array(found[name][:, 1] < 0))",
        "pa.StructArray.from_arrays(list(found[name].T), fields=list(PLACE), mask=pa.array(found[name][:, 1] < 1))",
    ): "no image has no bytes",
    (
        "pipeline/data/places.py",
        "found = {name: np.full((len(samples), 2), (0, -1), np.int64) for name in names}",
        "found = {name: np.full((len(samples), 2), (1, -1), np.int64) for name in names}",
    ): "what has no place is null, whatever stands below",
    (
        "pipeline/data/places.py",
        "found = {name: np.full((len(samples), 2), (0, -1), np.int64) for name in names}",
        "found = {name: np.full((len(samples), 2), (0, -2), np.int64) for name in names}",
    ): "what has no place is null, whatever stands below",
    (
        "masks/forgery.py",
        "seen = np.array([index for index, one in enumerate(track) if one is not None], np.intp)",
        "seen = np.array([index for index, one in enumerate(track) if one is not None], None)",
    ): "the same type on 64-bit systems; an empty one is not used",
    (
        "masks/block_match.py",
        "starts = np.union1d(np.arange(0, len(predicted), chunk), breaks)",
        "starts = np.union1d(np.arange(0, len(predicted), ), breaks)",
    ): "the same costs, frame by frame, which takes longer",
    (
        "masks/face_difference.py",
        "return np.asarray(cv2.GaussianBlur(luma_chroma, (0, 0), FINE), np.float32)",
        "return np.asarray(cv2.GaussianBlur(luma_chroma, None, FINE), np.float32)",
    ): "OpenCV takes both for a size that follows from sigma",
    (
        "masks/forged_region.py",
        "mostly = np.mean([_warped(one * 1.0, move) for one, move in zip(within, moves, strict=True)], axis=0) > 0.5",
        "mostly = np.mean([_warped(one / 1.0, move) for one, move in zip(within, moves, strict=True)], axis=0) > 0.5",
    ): "either turns booleans into numbers",
    (
        "pipeline/data/batching.py",
        "divided = False  # whether units that are larger than a batch are divided at random",
        "divided = None  # whether units that are larger than a batch are divided at random",
    ): "only its truth is asked for",
    (
        "pipeline/data/frames.py",
        "kept &= _rank(video, np.lexsort((np.array(hashes, np.uint64), ~kept, video))) < frames",
        "kept &= _rank(video, np.lexsort((np.array(hashes, ), ~kept, video))) < frames",
    ): "at worst 53 bits of each hash, by which no two of a video are alike",
    (
        "masks/forged_region.py",
        "if np.hypot(*(first - image)) < MIRRORED * radius and axis.aside(first) * axis.aside(second) < 0:",
        "if np.hypot(*(first - image)) <= MIRRORED * radius and axis.aside(first) * axis.aside(second) < 0:",
    ): "no two parts are exactly that far apart",
    (
        "manifests/scanning/identity_splits.py",
        "split: {method: share * total for method, total in self._totals.items()} for split, share in shares.items()",
        "split: {method: share / total for method, total in self._totals.items()} for split, share in shares.items()",
    ): "a family's gain is less by the same for all splits, since it is divided by their shares",
    (
        "masks/outline.py",
        "if lower < total:",
        "if lower <= total:",
    ): "at an equal likelihood it ends, with one of two outlines that are as likely",
    (
        "pipeline/build/claim.py",
        "time.sleep(0.1)  # the first of several parts looks at the folder alone",
        "time.sleep(1.1)  # the first of several parts looks at the folder alone",
    ): "the same, later",
    (
        "pipeline/decode/decoded_frame.py",
        'rgb = frame.to_ndarray(format="rgb24", threads=1, **size, **({"interpolation": "BICUBIC"} if size else {}))',
        'rgb = frame.to_ndarray(format="rgb24", threads=2, **size, **({"interpolation": "BICUBIC"} if size else {}))',
    ): "the same pixels, by more threads",
    (
        "pipeline/data/face_masks.py",
        "masks = F.grid_sample(shapes[:, None].float() / 255, grid.nan_to_num(9), align_corners=False)",
        "masks = F.grid_sample(shapes[:, None].float() / 256, grid.nan_to_num(9), align_corners=False)",
    ): "then divided by their largest value",
}
