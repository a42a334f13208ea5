/* report_page.h - report_page.html as bytes with a NUL behind them; made by the build
 * (tools/embed.cmake). */
#ifndef GRAFT_HOST_TRAIN_REPORT_PAGE_H
#define GRAFT_HOST_TRAIN_REPORT_PAGE_H

extern const unsigned char gf_report_page[];

#endif
