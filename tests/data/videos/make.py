"""Makes the videos beside it with FFmpeg 5.1 (libx264, libvpx). Run: python make.py

Frame n of the counted ones is a flat gray with luma 20 + 8 n; the colored ones hold one color whose YUV is set directly, so that
the expected RGB follows from the matrix and range that a reader takes."""

import pathlib
import subprocess

FOLDER = pathlib.Path(__file__).parent
X264 = ["-c:v", "libx264", "-crf", "4", "-preset", "veryslow"]


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-bitexact", *map(str, arguments)], cwd=FOLDER, check=True)


def counted(frames, size="32x32", rate=10):
    """Source of gray frames that count up."""
    return ["-f", "lavfi", "-i", f"color=black:s={size}:r={rate}:d={frames / rate},format=yuv420p,geq=lum='20+8*N':cb=128:cr=128"]


def flat(y, u, v, size="32x32", frames=2, pixels="yuv420p"):
    return ["-f", "lavfi", "-i",
            f"color=black:s={size}:r=10:d={frames / 10},format={pixels},geq=lum={y}:cb={u}:cr={v}"]


def main():
    # Pure green by BT.601 in limited range: Y 145, U 54, V 34. diffusers and imageio leave such files untagged.
    green = (145, 54, 34)
    ffmpeg(*flat(*green, size="1280x720"), *X264, "untagged_720.mp4")
    ffmpeg(*flat(*green), *X264, "untagged_32.mp4")
    ffmpeg(*flat(*green), *X264, "-colorspace", "smpte170m", "-color_range", "tv", "tagged_601.mp4")
    # The same YUV tagged otherwise.
    ffmpeg(*flat(*green), *X264, "-colorspace", "bt709", "tagged_709.mp4")
    ffmpeg(*flat(*green), *X264, "-colorspace", "smpte170m", "-color_range", "pc", "tagged_full.mp4")
    ffmpeg(*flat(*green), "-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-q:v", "1", "full_range.avi")
    ffmpeg(*flat(580, 216, 136, pixels="yuv420p10le"), *X264, "-colorspace", "bt2020nc", "-color_primaries", "bt2020",
           "-color_trc", "smpte2084", "hdr.mp4")

    ffmpeg(*counted(12), *X264, "-bf", "3", "-g", "6", "b_frames.mp4")
    # Cut at frame 4 without decoding: an edit list hides what comes before it.
    ffmpeg("-ss", "0.4", "-i", "b_frames.mp4", "-c", "copy", "edit_list.mp4")
    ffmpeg(*counted(12), "-vf", "select='not(between(n,3,7))'", "-vsync", "vfr", *X264, "variable_rate.mkv")
    ffmpeg("-itsoffset", "-0.5", "-i", "b_frames.mp4", "-c", "copy", "-copyts", "-avoid_negative_ts", "disabled", "negative_times.mkv")

    # Dark on the left, bright on the right as stored; H.264 itself says that it is to be turned.
    ffmpeg("-f", "lavfi", "-i", "color=black:s=48x32:r=10:d=0.2,format=yuv420p,geq=lum='if(lt(X,24),50,200)':cb=128:cr=128", *X264,
           "-bsf:v", "h264_metadata=display_orientation=insert:rotate=90", "turned_by_sei.mp4")
    for name, size in ("a", "32x32"), ("b", "48x32"):
        ffmpeg(*counted(3, size), *X264, "-bf", "0", "-f", "mpegts", f"{name}.ts")
    (FOLDER / "size_changes.mp4").write_bytes(b"".join((FOLDER / f"{name}.ts").read_bytes() for name in "ab"))
    for name in "ab":
        (FOLDER / f"{name}.ts").unlink()

    ffmpeg(*counted(25), "-c:v", "mjpeg", "-q:v", "3", "counted.avi")
    ffmpeg(*counted(12), "-c:v", "libvpx", "-crf", "10", "-b:v", "0", "counted.webm")
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", "-c:a", "aac", "audio.mp4")
    ffmpeg(*counted(1), "cover.png")
    ffmpeg("-i", "audio.mp4", "-i", "cover.png", "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic",
           "audio_with_cover.mp4")
    (FOLDER / "cover.png").unlink()


if __name__ == "__main__":
    main()
