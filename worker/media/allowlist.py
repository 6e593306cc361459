"""The containers and codecs that uploads may use. Everything else in libav stays out of reach.

Not among the containers are playlists and scripts (hls, concat, sdp, image2): those open further
files and addresses. Sound-only containers are, so that an upload of one is told that it has no video
rather than that it cannot be decoded.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONTAINERS = _names(
    """
    mov mp4 matroska webm avi mpegts mpeg mpegvideo flv live_flv ogg asf mxf ivf obu h264 hevc h263 m4v vc1
    mjpeg dv rm nut gif apng yuv4mpegpipe png_pipe jpeg_pipe webp_pipe bmp_pipe
    wav w64 mp3 aac flac amr aiff caf ac3 eac3 au
    """
)

VIDEO_DECODERS = _names(
    """
    h264 hevc vvc libdav1d av1 vp6 vp6a vp6f vp7 vp8 vp9 libvpx libvpx-vp9 mpeg1video mpeg2video mpegvideo
    mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4 wmv1 wmv2 wmv3 vc1 h261 h263 h263i h263p flv theora rv10 rv20 rv30 rv40
    svq1 svq3 cinepak indeo3 dvvideo prores dnxhd mjpeg mjpegb gif png apng webp bmp jpeg2000 ffv1 huffyuv
    ffvhuff utvideo magicyuv qtrle rawvideo v210 8bps rpza smc msvideo1 msrle cavs
    """
)

AUDIO_DECODERS = _names(
    """
    aac aac_latm aac_fixed mp1 mp1float mp2 mp2float mp3 mp3float opus libopus vorbis libvorbis flac alac
    ac3 eac3 dca truehd amrnb amrwb libopencore_amrnb libopencore_amrwb wmav1 wmav2 wmapro wmavoice cook
    speex libspeex gsm gsm_ms nellymoser adpcm_ms adpcm_ima_wav adpcm_ima_qt adpcm_swf adpcm_yamaha
    qdm2 qdmc mace3 mace6 pcm_s8 pcm_u8 pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_s32be
    pcm_f32le pcm_f32be pcm_f64le pcm_f64be pcm_alaw pcm_mulaw
    """
)
